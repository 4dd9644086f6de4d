"""Two processes, one of them without any object: same graph, same gradients, losses divided by the objects of both."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from detrove.apis import build_model

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/rt_detr/rtdetr_nano_shapes.py'


def make_batch(count):
    sample = DetDataSample(metainfo=dict(img_shape=(64, 64)))
    boxes = torch.tensor([[4.0, 8.0, 40.0, 50.0], [20.0, 20.0, 60.0, 44.0]])[:count]
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.arange(count))
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(count)), [sample]


def make_model():
    torch.manual_seed(0)
    model = build_model(CONFIG).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()  # statistics of one image each are not what is compared here
    return model


def run_rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/store', world_size=2, rank=rank, timeout=timedelta(seconds=60))
    model = torch.nn.parallel.DistributedDataParallel(make_model())  # without find_unused_parameters
    torch.manual_seed(rank)
    for _ in range(2):  # a second step fails if the first left a parameter without gradient
        model.zero_grad()
        losses = model(*make_batch(2 if rank == 0 else 0), mode='loss')
        sum(losses.values()).backward()
    gradients = {name: parameter.grad for name, parameter in model.module.named_parameters()}
    torch.save(dict(losses={k: v.detach() for k, v in losses.items()}, gradients=gradients), f'{folder}/{rank}.pt')
    dist.destroy_process_group()


@pytest.mark.slow
def test_a_rank_without_objects(tmp_path):
    code = f'import detrove, runpy; runpy.run_path({__file__!r})["run_rank"](%d, {str(tmp_path)!r})'
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    ranks = [subprocess.Popen([sys.executable, '-c', code % rank], env=environment) for rank in range(2)]
    assert [rank.wait(timeout=200) for rank in ranks] == [0, 0]
    first, second = (torch.load(tmp_path / f'{rank}.pt') for rank in range(2))
    assert not [name for name, gradient in first['gradients'].items() if gradient is None]
    for name, gradient in first['gradients'].items():
        torch.testing.assert_close(gradient, second['gradients'][name])
    assert second['losses']['loss_bbox'] == 0 and second['losses']['loss_cls'] > 0
    alone = make_model().loss(*make_batch(2))  # divided by two objects; with two processes by one on average
    for name in ('loss_bbox', 'enc.loss_giou', 'd0.loss_cls'):
        torch.testing.assert_close(first['losses'][name], 2 * alone[name].detach(), rtol=1e-4, atol=1e-5)
