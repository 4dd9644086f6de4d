"""Official checkpoints, wherever weights are loaded."""

import gzip
import json
from argparse import Namespace

import pytest
import torch

from detrove import init_model
from detrove.apis import build_model
from detrove.checkpoints import convert_file, load_weights, read_checkpoint, rename_keys, unwrap_state_dict
from detrove.checkpoints.deterministic import deterministic_images, deterministic_state_dict

CONFIG = 'configs/rt_detr/rtdetr_r18vd_8xb2-72e_coco.py'


@pytest.fixture(scope='module')
def config(request):
    return request.config.rootpath / CONFIG


@pytest.fixture(scope='module')
def official(request):
    keys = gzip.decompress((request.config.rootpath / 'tests/data/rt_detr/keys_v1_r18vd.json.gz').read_bytes())
    return deterministic_state_dict(json.loads(keys))


@pytest.fixture(scope='module')
def expected(config, official):
    model = build_model(config).eval()
    model.load_state_dict(official)
    return predict(model)


def predict(model):
    with torch.no_grad():
        return model._forward(deterministic_images(1, 64, 96))


def assert_same(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize('wrap', [lambda w: w, lambda w: {'model': w}, lambda w: {'ema': {'module': w}, 'model': {}},
                                  lambda w: {'ema': {'module': w, 'updates': 7}, 'optimizer': {'state': {}}}],
                         ids=['bare', 'model', 'ema first', 'with optimiser'])
def test_init_model_reads_official_files(tmp_path, config, official, expected, wrap):
    torch.save(wrap(official), tmp_path / 'official.pth')
    model = init_model(config, tmp_path / 'official.pth')
    assert not model.training
    assert model.dataset_meta['classes'][0] == 'person'
    assert_same(predict(model), expected)


def test_convert_file(tmp_path, config, official, expected):
    torch.save({'ema': {'module': official}}, tmp_path / 'official.pth')
    assert convert_file(tmp_path / 'official.pth', tmp_path / 'out/ours.pth', config).startswith('RT-DETR')
    assert_same(predict(init_model(config, tmp_path / 'out/ours.pth')), expected)
    with pytest.raises(FileExistsError, match='exists already'):
        convert_file(tmp_path / 'official.pth', tmp_path / 'out/ours.pth', config)


def test_file_of_another_model_is_refused(tmp_path, config):
    torch.save(dict(state_dict={'conv.weight': torch.zeros(1), 'fc.bias': torch.zeros(1)}), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match='no layout that detrove knows.*conv.weight'):
        convert_file(tmp_path / 'other.pth', tmp_path / 'ours.pth', config)
    assert not (tmp_path / 'ours.pth').exists()
    with pytest.raises(ValueError, match='belongs to another model'):
        init_model(config, tmp_path / 'other.pth')


def test_other_number_of_layers_lists_what_does_not_fit(tmp_path, config, official):
    torch.save({'model': official}, tmp_path / 'official.pth')
    with pytest.raises(ValueError, match=r'does not fill the model(.|\n)*decoder\.layers\.3'):
        init_model(config, tmp_path / 'official.pth', cfg_options={'model.decoder.num_layers': 4})


def test_own_checkpoints_pass_untouched(config, expected, official):
    model = build_model(config).eval()
    model.load_state_dict(official)
    other = build_model(config).eval()
    report = load_weights(other, model.state_dict(), source='memory', must_be_complete=True)
    assert not (report.missing or report.unexpected or report.mismatched)
    assert_same(predict(other), expected)


def test_missing_files_are_named(tmp_path, config):
    with pytest.raises(FileNotFoundError, match='checkpoint not found'):
        init_model(config, tmp_path / 'nothing.pth')
    with pytest.raises(FileNotFoundError, match='does not exist'):
        init_model(tmp_path / 'nothing.py')


def test_file_that_would_run_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    torch.save(dict(state_dict={}, extra=Trap()), tmp_path / 'trap.pth')
    with pytest.raises(ValueError, match='could run code(.|\n)*--allow-unsafe-checkpoint'):
        read_checkpoint(str(tmp_path / 'trap.pth'))
    assert not (tmp_path / 'ran').exists()
    read_checkpoint(str(tmp_path / 'trap.pth'), allow_unsafe=True)
    assert (tmp_path / 'ran').exists()


def test_options_saved_beside_weights_are_read(tmp_path):
    """As the official DETR code bases save them."""
    saved = dict(model={'weight': torch.ones(2)}, args=Namespace(lr=1e-4, dataset='coco'))
    torch.save(saved, tmp_path / 'official.pth')
    assert read_checkpoint(str(tmp_path / 'official.pth'))['state_dict']['weight'].tolist() == [1, 1]


@pytest.mark.parametrize('content', [b'', b'not a checkpoint at all', b'PK\x03\x04 cut'])
def test_damaged_files_are_named(tmp_path, content):
    path = tmp_path / 'damaged.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='damaged.pth is damaged or not a PyTorch checkpoint'):
        read_checkpoint(str(path))


def test_cut_file_is_named(tmp_path):
    torch.save(dict(state_dict=dict(x=torch.zeros(10000))), tmp_path / 'whole.pth')
    (tmp_path / 'cut.pth').write_bytes((tmp_path / 'whole.pth').read_bytes()[:20000])
    with pytest.raises(ValueError, match='cut.pth is damaged'):
        read_checkpoint(str(tmp_path / 'cut.pth'))


def test_rename_keys():
    state = {'m.a.0.weight': 1, 'm.a.1.bias': 2, 'm.drop': 3, 'other.a.0.weight': 4}
    rename_keys(state, [(r'a\.(\d)\.', r'b.\1.'), ('drop', None)], prefix='m.')
    assert state == {'m.b.0.weight': 1, 'm.b.1.bias': 2, 'other.a.0.weight': 4}
    with pytest.raises(ValueError, match="'y' would become 'z', which exists already"):
        rename_keys({'x': 1, 'y': 2, 'z': 3}, [('y', 'z')])


def test_unwrapping_prefers_averaged_weights():
    assert unwrap_state_dict({'ema': {'module': {'a': 1}}, 'model': {'a': 2}}) == {'a': 1}
    assert unwrap_state_dict({'model': {'a': 2}, 'epoch': 3}) == {'a': 2}
    assert unwrap_state_dict({'state_dict': {'a': 4}, 'meta': {}}) == {'a': 4}
    assert unwrap_state_dict({'a': 5}) == {'a': 5}
