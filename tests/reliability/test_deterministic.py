"""`--deterministic`: the same bits twice, of every family of models, and what runs in place of atomic sums on a GPU."""

import contextlib
import functools
import os
from pathlib import Path

import pytest
import torch
from mmcv.ops import RoIAlign
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from mmengine.visualization import Visualizer
from mmseg.structures import SegDataSample
from torch.utils._python_dispatch import TorchDispatchMode

from detrove.apis import build_model
from detrove.cli import main
from detrove.engine.visualizer import ClippedDetVisualizer
from detrove.ops.points import sample_points
from detrove.reliability.compare import differences_of_runs, differing
from detrove.reliability.kill import write_small_run

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SIZE_HW = 64, 96
SWIN = dict(_delete_=True, type='Swin', arch=dict(embed_dims=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 3, 4)),
            window_size=4, drop_path_rate=0.1)
# what may be made smaller, and is there
SMALL = {
    'model.backbone.drop_path_rate': 0.1,
    'model.query_selection.num_queries': 20,
    'model.denoising.num_queries': 10,
    'model.train_cfg.rpn_proposal.nms_pre': 50,
    'model.train_cfg.rpn_proposal.max_per_img': 20,
    'model.train_cfg.rcnn.sampler.num': 16,
    'model.train_cfg.num_points': 64,
}
COVERED = ('rtdetr-ins', 'dino', 'deformable-detr-two-stage', 'h-detr', 'rank-relation-group-rtdetr', 'mask-rcnn_dinat',
           'cswin', 'mask2former_swin')  # what the others consist of
CASES = {path.stem.replace('_shapes', ''): (path, {}) for path in sorted(CONFIGS.rglob('*nano*_shapes.py'))
         if 'ablations' not in path.parts}
CASES['mask-rcnn_swin-nano'] = CASES['mask-rcnn_dinat-nano'][0], {'model.backbone': SWIN}
CASES['upernet_r18'] = CONFIGS / 'segmentation/upernet_r18_1k_shapes.py', {}
#: Of torch.use_deterministic_algorithms's list of what fails on a GPU, by the names under which it is computed.
#: Bilinear interpolation is on that list and is computed in another way where it is called through torch.nn.functional.
WITHOUT_DETERMINISTIC_FORM = {
    'grid_sampler_2d_backward', '_adaptive_avg_pool2d_backward', 'adaptive_max_pool2d_backward', '_roi_align_backward',
    'upsample_bicubic2d_backward', 'reflection_pad2d_backward', 'put_', 'histc', 'median.dim', '_ctc_loss_backward',
    'max_unpool2d', 'index_reduce', 'scatter_reduce.two',
}
#: Which models cannot be trained so on a GPU; docs/reliability.md says it.
FAILS_ON_GPU = {
    'mask2former_swin-nano': {'grid_sampler_2d_backward'},  # MMDetection's head
    'upernet_r18': {'_adaptive_avg_pool2d_backward'},
    'cswin-nano_upernet': {'_adaptive_avg_pool2d_backward'},
}


class Operators(TorchDispatchMode):
    """The names of the operators that were computed."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        _, _, name = func.name().partition('::')
        self.names |= {name, name.partition('.')[0]}
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def settings_of_torch():
    """Two threads, and what a deterministic run sets put back."""
    threads, before = torch.get_num_threads(), os.environ.get('CUBLAS_WORKSPACE_CONFIG')
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    if before is None:
        os.environ.pop('CUBLAS_WORKSPACE_CONFIG', None)


@pytest.fixture
def as_on_gpu(monkeypatch):
    """Operators take the path of a deterministic run on a GPU."""
    for name in ('points', 'mmcv_ext.roi'):
        monkeypatch.setattr(f'detrove.ops.{name}.adds_in_any_order', lambda tensor: True)


def make_batch(config):
    """An image with two objects and one without, labels of pixels for segmentors."""
    generator = torch.Generator().manual_seed(0)
    inputs, samples = torch.randn(2, 3, *SIZE_HW, generator=generator), []
    for count in (2, 0):
        meta = dict(img_shape=SIZE_HW, batch_input_shape=SIZE_HW, pad_shape=SIZE_HW, ori_shape=SIZE_HW,
                    scale_factor=(1.0, 1.0))
        sem_seg = torch.randint(0, 6, (1, *SIZE_HW), generator=generator)
        if config.default_scope == 'mmseg':
            samples.append(SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=sem_seg)))
            continue
        boxes = torch.tensor([[8.0, 8, 40, 40], [40, 10, 90, 60]])[:count]
        masks = torch.zeros(count, *SIZE_HW, dtype=torch.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
            mask[top:bottom, left:right] = 1
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.arange(count),
                                           masks=BitmapMasks(masks.numpy(), *SIZE_HW))
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
        samples.append(sample)
    return inputs, samples


def small_config(name):
    path, changes = CASES[name]
    config = Config.fromfile(path)
    config.merge_from_dict(changes)
    for key, value in SMALL.items():
        *parents, last = key.split('.')
        settings = functools.reduce(lambda part, name: (part or {}).get(name), parents, config)
        if settings and last in settings:
            settings[last] = value
    return config


def train_two_steps(config):
    """Losses and weights of two steps from a seed, and the operators of the first."""
    torch.manual_seed(0)
    model = build_model(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses, operators = [], Operators()
    for recorder in (operators, contextlib.nullcontext()):
        inputs, samples = make_batch(config)
        with recorder:
            losses.append(model.loss(inputs, samples))
            total, _ = model.parse_losses(losses[-1])
            total.backward()
        optimizer.step()
        optimizer.zero_grad()
    return dict(losses=losses, weights=model.state_dict()), operators.names


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[] if name.startswith(COVERED) else pytest.mark.slow) for name in CASES])
def test_the_same_bits_twice(name, as_on_gpu):
    torch.use_deterministic_algorithms(True)
    config = small_config(name)
    (first, operators), (second, _) = train_two_steps(config), train_two_steps(config)
    assert differing(first, second, '') == []
    assert operators & WITHOUT_DETERMINISTIC_FORM == FAILS_ON_GPU.get(name, set())


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_gradient_of_regions_without_atomic_sums(aligned, sampling_ratio, request):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 12, 16, dtype=torch.float64, generator=generator, requires_grad=True)
    rois = torch.tensor([[0, 2.0, 3, 20, 19], [1, -5, 0, 40, 30], [1, 9, 9, 9.5, 9.2]], dtype=torch.float64)
    pooled = RoIAlign((3, 2), 0.5, sampling_ratio, 'avg', aligned)(maps, rois)
    factors = torch.randn(pooled.shape, dtype=torch.float64, generator=generator)
    (expected,) = torch.autograd.grad(pooled, maps, factors, retain_graph=True)
    request.getfixturevalue('as_on_gpu')
    (grad,) = torch.autograd.grad(pooled, maps, factors)
    torch.testing.assert_close(grad, expected, rtol=0, atol=1e-12)


def test_points_without_atomic_sums(request):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 7, 9, dtype=torch.float64, generator=generator, requires_grad=True)
    points = torch.rand(3, 20, 2, dtype=torch.float64, generator=generator) * 1.2 - 0.1
    factors = torch.randn(3, 20, dtype=torch.float64, generator=generator)
    values = sample_points(maps, points)
    (grad,) = torch.autograd.grad(values, maps, factors)
    request.getfixturevalue('as_on_gpu')
    others = sample_points(maps, points)
    torch.testing.assert_close(others, values, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(others, maps, factors)[0], grad, rtol=0, atol=1e-12)


def test_command_line(tmp_path, monkeypatch):
    """The option sets what torch needs, and takes the seed 0 where the config has none."""
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    config = write_small_run(tmp_path, images=4, epochs=1)
    with open(config, 'a') as file:
        file.write('randomness = dict(seed=None)\n')
    for run in ('one', 'other'):
        command = ['train', str(config), '--work-dir', str(tmp_path / run), '--no-preflight', '--deterministic']
        assert main(command) == 0
        for kind in (Visualizer, ClippedDetVisualizer):  # a process keeps the first of a name, and where it saves
            kind._instance_dict.clear()
        assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
        assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'
    assert differences_of_runs(tmp_path / 'one', tmp_path / 'other') == []
