"""Every kind of model can be measured, and a word that means none is refused with what was expected."""

import sys
from pathlib import Path

import pytest
import torch

from detrove.benchmark import Workload, line_up, measure

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SMALL_FASTER_RCNN = {'model.backbone.depth': 18, 'model.backbone.init_cfg': None,
                     'model.neck.in_channels': [64, 128, 256, 512], 'model.neck.out_channels': 32,
                     'model.rpn_head.in_channels': 32, 'model.rpn_head.feat_channels': 32,
                     'model.roi_head.bbox_roi_extractor.out_channels': 32, 'model.roi_head.bbox_head.in_channels': 32,
                     'model.roi_head.bbox_head.fc_out_channels': 32}


@pytest.fixture
def workload():
    return Workload(size_hw=(64, 96), batch=2, objects=3)


@pytest.mark.parametrize(('word', 'options'), [
    ('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', SMALL_FASTER_RCNN),
    (str(CONFIGS / 'segmentation/upernet_r18_1k_shapes.py'), {}),
    ('mmpretrain::resnet/resnet18_8xb32_in1k.py', {}),
    (str(CONFIGS / 'rt_detr/rtdetr-ins_nano_shapes.py'), {}),
], ids=['two stages', 'segmentor', 'classifier', 'DETR with masks'])
def test_models_of_all_libraries(workload, word, options):
    (contestant,) = line_up([word], workload, cfg_options=options, data=True)
    (result,) = measure([contestant], rounds=1, warmup=1)
    assert result.flops and result.saved_bytes and len(result.predict_s) == 1
    assert set(result.train_parts_s) == {'forward', 'matching and losses', 'backward', 'optimiser'}
    assert all(times[0] > 1e-5 for times in result.train_parts_s.values())
    assert result.data_s and result.why_no_data is None


def test_the_backbone_alone(workload):
    word = str(CONFIGS / 'rt_detr/rtdetr_nano_shapes.py')
    (whole,), (alone,) = line_up([word], workload), line_up([word], workload, backbone_only=True, data=True)
    assert alone.num_parameters == sum(x.numel() for x in whole.model.backbone.parameters())
    (result,) = measure([alone], rounds=1, warmup=1)
    assert result.train_s and result.why_no_data == 'a bare backbone'


def test_fusing_keeps_the_trained_model(workload):
    (contestant,) = line_up([str(CONFIGS / 'rt_detr/rtdetr_nano_shapes.py')], workload, fuse=True)
    norms = [sum(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
             for model in (contestant.model, contestant.inference_model)]
    assert norms[0] > norms[1]


def test_a_backbone_of_timm(workload):
    (contestant,) = line_up(['small=timm:test_resnet'], workload)
    (result,) = measure([contestant], rounds=1, warmup=1)
    assert result.name == 'small' and result.flops and result.train_s
    with pytest.raises(ValueError, match="has no model 'resnet_of_a_test'"):
        line_up(['timm:resnet_of_a_test'], workload)


def test_a_peer_that_is_not_installed_is_named(workload, monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ImportError, match='needs transformers: pip install transformers'):
        line_up(['transformers:rtdetr_r18vd'], workload)


FUNCTIONS = """
import torch
from detrove.benchmark import ExternalModel

def for_inference(workload):
    return torch.nn.Conv2d(3, 4, 1), (workload.images(),)

def whole(workload):
    model = torch.nn.Conv2d(3, 4, 1)
    model.criterion = lambda out: out.square()
    inputs = dict(input=workload.images())
    return ExternalModel(model, inputs, inputs, loss=lambda out: dict(a=model.criterion(out).mean(), b=[out.mean()]),
                         deploy=lambda model: torch.nn.Sequential(model.eval()), clip_grad_norm=1e-9,
                         optimizer=torch.optim.SGD(model.parameters(), lr=1.0), loss_method='criterion')

def without_loss(workload):
    return ExternalModel(torch.nn.Conv2d(3, 4, 1), (workload.images(),), (workload.images(),))

def nothing(workload):
    return torch.nn.Conv2d(3, 4, 1)
"""


def test_functions_of_a_file(workload, tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(FUNCTIONS)
    inference_only, whole = line_up([f'{path}:for_inference', f'A B={path}:whole'], workload, fuse=True)
    before = whole.model.weight.clone()
    results = measure([inference_only, whole], rounds=1, warmup=1)
    assert [result.name for result in results] == ['for_inference', 'A B']
    assert results[0].predict_s and not results[0].train_s and results[1].train_s
    assert results[0].flops == results[1].flops == 2 * 2 * 64 * 96 * 3 * 4
    assert isinstance(whole.inference_model, torch.nn.Sequential)
    torch.testing.assert_close(before, whole.model.weight, rtol=0, atol=1e-6)  # gradients were clipped


@pytest.mark.parametrize(('function', 'message'), [
    ('without_loss', 'has inputs for training, but no loss'), ('nothing', 'returned Conv2d, expected an ExternalModel'),
    ('absent', "has no function 'absent'")])
def test_functions_that_do_not_fit(workload, tmp_path, function, message):
    path = tmp_path / 'mine.py'
    path.write_text(FUNCTIONS)
    with pytest.raises(ValueError, match=message):
        line_up([f'{path}:{function}'], workload)


def test_a_file_that_is_not_there(workload):
    with pytest.raises(FileNotFoundError, match='absent.py does not exist'):
        line_up(['absent.py:model'], workload)


def test_a_pipeline_that_cannot_be_run_is_told(workload):
    (contestant,) = line_up([str(CONFIGS / 'rt_detr/rtdetr_nano_shapes.py')], workload, data=True, cfg_options={
        'train_dataloader.dataset.pipeline': [dict(type='LoadProposals')]})
    assert contestant.load_batch is None and 'its pipeline fails on generated images' in contestant.why_no_data


def test_mmcv_in_its_own_form():
    from mmcv.ops import MultiScaleDeformableAttention
    from torch.utils._python_dispatch import TorchDispatchMode

    from detrove.benchmark.peers import mmcv_deformable_attention

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            names.add(str(function))
            return function(*args, **(kwargs or {}))

    torch.manual_seed(0)
    attention = MultiScaleDeformableAttention(embed_dims=16, num_heads=2, num_levels=1, num_points=2).eval()
    query, value = torch.rand(5, 1, 16), torch.rand(12, 1, 16)
    shapes, points = torch.tensor([[3, 4]]), torch.rand(1, 5, 1, 2)

    def run():
        return attention(query, value=value, reference_points=points, spatial_shapes=shapes,
                         level_start_index=torch.tensor([0]))

    usual = run()
    names = set()
    with mmcv_deformable_attention(), Seen():
        own = run()
    assert 'aten.grid_sampler_2d.default' in names
    torch.testing.assert_close(own, usual)
    names.clear()
    with Seen():
        run()
    assert 'aten.grid_sampler_2d.default' not in names
