"""Sizes, settings, checkpoints and optimiser groups of CSWin."""

import gzip
import json

import pytest
import torch
from mmengine.config import Config

from detrove.apis import build_model
from detrove.checkpoints import load_pretrained
from detrove.engine.optim import RegexOptimWrapperConstructor
from detrove.projects.cswin import CSWin
from detrove.projects.cswin.cswin import ARCHS, rename_official_keys, stripe_attention

SMALL = dict(embed_dims=16, depths=(1, 1, 1, 1), num_heads=(2, 2, 4, 4))

# of the official classification models, printed by their code, with the linear layer of 1000 classes
NUM_PARAMETERS = dict(tiny=22_320_552, small=34_643_304, base=77_382_184, large=173_262_664)


@pytest.fixture
def official_shapes(request):
    data = request.config.rootpath / 'tests/data/cswin'
    return lambda kind: json.loads(gzip.decompress((data / f'keys_{kind}.json.gz').read_bytes()))


@pytest.mark.parametrize('arch', ARCHS)
def test_number_of_parameters(arch):
    with torch.device('meta'):
        model = CSWin(arch=arch, out_indices=(3,))
    head = 1000 * (model.out_channels[0] + 1)
    assert sum(parameter.numel() for parameter in model.parameters()) + head == NUM_PARAMETERS[arch]


@pytest.mark.parametrize('settings', [
    dict(arch=dict(SMALL, num_heads=(1, 2, 4, 4))),
    dict(arch=dict(SMALL, num_heads=(2, 2, 6, 4))),
    dict(arch=dict(SMALL, depths=(1, 1, 1), num_heads=(2, 2, 4))),
    dict(split_size=(1, 2, 7)),
    dict(split_size=(1, 0, 7, 7)),
])
def test_impossible_settings(settings):
    with pytest.raises(ValueError, match='CSWin'):
        CSWin(**{'arch': SMALL, **settings})


@pytest.mark.parametrize('stripe_hw', [(6, 2), (2, 9), (6, 9), (4, 4)])
def test_stripes_stand_alone(stripe_hw):
    """Each stripe gives what it gives as a map of its own, a border of zeros around the map included."""
    torch.manual_seed(0)
    qkv = torch.randn(2, 6, 9, 3, 8)
    lepe = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
    out = stripe_attention(qkv, stripe_hw, 2, lepe)
    h, w = stripe_hw
    bottom, right = -6 % h, -9 % w
    top, left = bottom // 2, right // 2
    padded = torch.zeros(2, 6 + bottom, 9 + right, 3, 8)
    padded[:, top:top + 6, left:left + 9] = qkv
    expected = torch.zeros(2, 6 + bottom, 9 + right, 8)
    for y in range(0, 6 + bottom, h):
        for x in range(0, 9 + right, w):
            stripe = padded[:, y:y + h, x:x + w]
            query, key, value = stripe.reshape(2, h * w, 3, 2, 4).permute(2, 0, 3, 1, 4)
            attended = (query @ key.mT / 2).softmax(-1) @ value
            positions = lepe(stripe[..., 2, :].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            expected[:, y:y + h, x:x + w] = attended.transpose(1, 2).reshape(2, h, w, 8) + positions
    torch.testing.assert_close(out, expected[:, top:top + 6, left:left + 9], rtol=1e-5, atol=1e-5)


def test_wide_stripes_of_384_models():
    model = CSWin(arch=SMALL, split_size=(1, 2, 12, 12)).eval()
    with torch.no_grad():
        maps = model(torch.rand(1, 3, 96, 128))
    assert [tuple(level.shape[1:]) for level in maps] == [(16, 24, 32), (32, 12, 16), (64, 6, 8), (128, 3, 4)]


def test_published_classification_file(official_shapes, tmp_path):
    """Averaged weights beside the arguments of training; the last norm and the head have no place in four levels."""
    weights = {name: torch.tensor(0.5).expand(shape) for name, shape in official_shapes('classification_tiny').items()}
    path = tmp_path / 'cswin_tiny_224.pth'
    torch.save(dict(epoch=300, state_dict_ema=weights), path)
    model = CSWin(arch='tiny')
    report = load_pretrained(model, dict(type='Pretrained', checkpoint=str(path)))
    assert set(report.unexpected) == {'norm.weight', 'norm.bias', 'head.weight', 'head.bias'}
    assert set(report.missing) == {f'norm{i}.{kind}' for i in range(4) for kind in ('weight', 'bias')}
    assert not report.mismatched
    loaded = {name: value for name, value in model.state_dict().items() if name not in report.missing}
    assert all((value == 0.5).all() for value in loaded.values())
    assert (model.norm3.weight == 1).all()


def test_large_official_names(official_shapes):
    with torch.device('meta'):
        model = CSWin(arch='large', out_indices=(3,))
        weights = {name: torch.empty(shape) for name, shape in official_shapes('classification_large').items()}
        loaded = model.load_state_dict(weights, strict=False)
    assert not loaded.missing_keys and set(loaded.unexpected_keys) == {'head.weight', 'head.bias'}


def test_own_layout_is_left_alone():
    model = CSWin(arch=SMALL)
    CSWin(arch=SMALL).load_state_dict(model.state_dict())


def test_optimiser_groups_of_upernet(official_shapes, request):
    """The official rule: parameters decay unless "norm" is in their official name."""
    config = Config.fromfile(
        request.config.rootpath / 'configs/cswin/cswin-tiny_upernet_8xb2-160k_ade20k-512x512.py')
    with torch.device('meta'):
        model = build_model(config)
    official_names = {name: name for name in official_shapes('upernet_tiny')}
    rename_official_keys(model.backbone, official_names, 'backbone.')
    groups = RegexOptimWrapperConstructor(config.optim_wrapper, config.optim_wrapper.paramwise_cfg)
    decay = {parameter: group.get('weight_decay', config.optim_wrapper.optimizer.weight_decay)
             for group in groups.parameter_groups(model) for parameter in group['params']}
    for name, parameter in model.named_parameters():
        assert decay[parameter] == (0.0 if 'norm' in official_names[name] else 0.01), name
