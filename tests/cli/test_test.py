"""`detrove test`: what it writes, and the checkpoints it refuses."""

import json
import pickle
from pathlib import Path

import cv2
import pytest
import torch
from mmdet.models import RetinaNet
from mmdet.registry import MODELS
from torch import nn

from detrove.cli import main
from detrove.cli.test import _flip_pipeline


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@MODELS.register_module(name='FusibleRetinaNetOfATest')
class FusibleRetinaNet(RetinaNet):
    fused_with = None

    def fuse_for_inference(self):
        type(self).fused_with = {name: value.clone() for name, value in self.state_dict().items()}
        self.backbone.conv1 = nn.Sequential(nn.Identity(), self.backbone.conv1)  # an averaged copy no longer fits
        self.backbone.bn1.weight = None


def run(trained, *options):
    config, checkpoint = trained
    return main(['test', str(config), str(checkpoint), '--work-dir', 'work', *options])


def changed_copy(checkpoint, path, change):
    content = torch.load(checkpoint, weights_only=True)
    change(content)
    torch.save(content, path)
    return path


def test_json_holds_coco_results(trained, coco_folder):
    assert run(trained, '--out', 'results.json') == 0
    with open('results.json') as file:
        results = json.load(file)
    assert {result['image_id'] for result in results} == {1, 2, 3, 4}
    assert {result['category_id'] for result in results} <= {3, 7}
    assert all(len(result['bbox']) == 4 and 0 <= result['score'] <= 1 for result in results)


def test_pickle_holds_mmdetections_dump(trained):
    assert run(trained, '--out', 'results.pkl') == 0
    with open('results.pkl', 'rb') as file:
        samples = pickle.load(file)
    assert [sample['img_id'] for sample in samples] == [1, 2, 3, 4]
    assert samples[0]['pred_instances']['bboxes'].shape[1] == 4


def test_existing_output_is_kept_unless_forced(trained, tmp_path, capsys):
    out = tmp_path / 'results.json'
    out.write_text('mine')
    assert run(trained, '--out', str(out)) == 1
    assert 'pass --force' in capsys.readouterr().err
    assert out.read_text() == 'mine'
    assert run(trained, '--out', str(out), '--force') == 0
    assert out.read_text() != 'mine'


def test_output_of_an_unknown_kind(trained, capsys):
    assert run(trained, '--out', 'results.csv') == 1
    assert 'must end in .json or .pkl or .pickle' in capsys.readouterr().err


def test_show_dir_draws_every_image(trained, tmp_path):
    assert run(trained, '--show-dir', 'drawn') == 0
    assert len(list((tmp_path / 'work').glob('*/drawn/*.png'))) == 4


def test_show_dir_draws_inside_the_image(detection_config, trained, tmp_path, monkeypatch):
    config = detection_config("""
        default_hooks['visualization'] = dict(type='DetVisualizationHook', score_thr=0.0)
        visualizer['type'] = 'ClippedDetVisualizer'
    """)
    predict = RetinaNet.predict

    def predict_outside(self, *args):
        samples = predict(self, *args)
        for sample in samples:
            sample.pred_instances = sample.pred_instances[:1]
            sample.pred_instances.bboxes[:] = torch.tensor([-40.0, -20, 50, 90])
        return samples

    monkeypatch.setattr(RetinaNet, 'predict', predict_outside)
    assert run((config, trained[1]), '--show-dir', 'drawn', '--out', 'results.json') == 0
    for file in (tmp_path / 'work').glob('*/drawn/*.png'):
        drawn = cv2.imread(str(file))
        assert drawn.shape == (64, 128, 3)  # ground truth and predictions
        assert not (drawn == 255).all(axis=-1).any(), 'white paper around the image'
    assert json.loads((tmp_path / 'results.json').read_text())[0]['bbox'] == [-40, -20, 90, 110]


def test_time_augmentation_adds_a_flip_by_default(trained, capsys):
    assert run(trained, '--tta', '--out', 'fused.json') == 0
    results = json.loads(Path('fused.json').read_text())
    assert {result['image_id'] for result in results} == {1, 2, 3, 4}
    assert all(0 <= result['score'] <= 1 for result in results)
    assert "type='FusedTTAModel'" in capsys.readouterr().out


def test_time_augmentation_of_maps_loads_them_unflipped():
    steps = [dict(type=name) for name in ('LoadImageFromFile', 'mmseg.LoadAnnotations', 'mmseg.PackSegInputs')]
    *before, augment = _flip_pipeline(steps, segmentation=True)
    flips, loading, pack = augment['transforms']
    assert [step['type'] for step in (*before, *loading, *pack)] == [step['type'] for step in steps]
    assert [flip['prob'] for flip in flips] == [1.0, 0.0]


def test_fuse_is_called_on_the_loaded_model(detection_config, trained):
    config = detection_config("""
        model['type'] = 'FusibleRetinaNetOfATest'
        custom_hooks = [dict(type='EMAHook', momentum=1e-4)]
    """)
    assert run((config, trained[1]), '--fuse') == 0
    weights = torch.load(trained[1], weights_only=True)['state_dict']
    assert weights.keys() == FusibleRetinaNet.fused_with.keys()
    assert all(torch.equal(value, FusibleRetinaNet.fused_with[name]) for name, value in weights.items())


def test_fuse_needs_an_inference_form(trained, capsys):
    assert run(trained, '--fuse') == 1
    assert 'RetinaNet has no inference form' in capsys.readouterr().err


def test_checkpoint_of_another_model(trained, tmp_path, capsys):
    other = tmp_path / 'other.pth'
    torch.save(dict(state_dict={f'stem.{index}.weight': torch.zeros(1) for index in range(20)}), other)
    assert main(['test', str(trained[0]), str(other), '--allow-partial']) == 1
    message = capsys.readouterr().err
    assert 'belongs to another model: of its 20 entries only 0 fit RetinaNet' in message
    assert 'stem.0.weight' in message and 'backbone.conv1.weight' in message


def test_checkpoint_that_does_not_fill_the_model(trained, tmp_path, capsys):
    def change(content):
        del content['state_dict']['bbox_head.retina_reg.bias']
        content['state_dict']['bbox_head.retina_cls.bias'] = torch.zeros(7)

    part = str(changed_copy(trained[1], tmp_path / 'part.pth', change))
    assert main(['test', str(trained[0]), part]) == 1
    message = capsys.readouterr().err
    assert 'missing in the checkpoint, left as initialised (1): bbox_head.retina_reg.bias' in message
    assert 'bbox_head.retina_cls.bias: torch.Size([7]), torch.Size([2])' in message
    assert main(['test', str(trained[0]), part, '--allow-partial', '--work-dir', 'work']) == 0


def test_checkpoint_of_other_classes(trained, tmp_path, capsys):
    def change(content):
        content['meta']['dataset_meta']['classes'] = ('dog', 'horse')

    other = str(changed_copy(trained[1], tmp_path / 'horses.pth', change))
    assert main(['test', str(trained[0]), other]) == 1
    message = capsys.readouterr().err
    assert "['dog', 'horse']" in message and "['dog', 'cat']" in message


class RunsCode:
    def __reduce__(self):
        return (print, ('opened',))


def test_checkpoint_that_runs_code(trained, tmp_path, capsys):
    unsafe = str(changed_copy(trained[1], tmp_path / 'unsafe.pth', lambda content: content.update(extra=RunsCode())))
    assert main(['test', str(trained[0]), unsafe]) == 1
    output = capsys.readouterr()
    assert '--allow-unsafe-checkpoint' in output.err
    assert 'opened' not in output.out
    assert main(['test', str(trained[0]), unsafe, '--allow-unsafe-checkpoint', '--work-dir', 'work']) == 0


def test_missing_checkpoint_writes_nothing(trained, tmp_path, capsys):
    assert main(['test', str(trained[0]), 'nothing.pth']) == 1
    assert 'checkpoint not found' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_on_tiles(trained, segmentation_config, capsys):
    assert run(trained, '--out', 'plain.json') == 0
    assert run(trained, '--tile', '64', '--out', 'whole.json') == 0  # one tile, the whole image
    with open('plain.json') as plain, open('whole.json') as whole:
        for one, other in zip(json.load(plain), json.load(whole), strict=True):
            assert one['image_id'] == other['image_id'] and one['category_id'] == other['category_id']
            assert one['bbox'] == pytest.approx(other['bbox'], abs=1e-3)
    capsys.readouterr()
    assert run(trained, '--tile', '40', '--overlap', '0.3', '--out', 'cut.json') == 0
    assert 'coco/bbox_mAP' in capsys.readouterr().out
    with open('cut.json') as cut:
        results = json.load(cut)
    assert {result['image_id'] for result in results} == {1, 2, 3, 4}
    assert max(result['bbox'][0] + result['bbox'][2] for result in results) > 50  # in pixels of the image, not of tiles

    assert run(trained, '--tile', '40', '--overlap', '1') == 1
    assert 'overlap is from 0 to below 1' in capsys.readouterr().err
    assert run(trained, '--tile', '40', '--tta') == 2
    assert main(['test', str(segmentation_config()), str(trained[1]), '--tile', '40']) == 1
    assert 'tiles are for detectors' in capsys.readouterr().err
