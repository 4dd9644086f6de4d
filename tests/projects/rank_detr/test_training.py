"""One step of training, with a small backbone and few layers."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from detrove.apis import build_model


@pytest.fixture(scope='module')
def model(pytestconfig):
    torch.manual_seed(0)
    config = pytestconfig.rootpath / 'configs/rank_detr/rank-detr_r50_8xb2-12e_coco.py'
    return build_model(config, {
        'model.backbone.depth': 18, 'model.backbone.init_cfg': None, 'model.neck.in_channels': [128, 256, 512],
        'model.encoder.num_layers': 1, 'model.decoder.num_layers': 2})


@pytest.mark.parametrize('size_hw, num_queries', [((64, 96), 128), ((128, 192), 510)],
                         ids=['fewer tokens than main queries', 'fewer tokens than queries'])
@pytest.mark.parametrize('bfloat16', [False, True])
def test_small_images(model, size_hw, num_queries, bfloat16):
    """With fewer tokens than 300 + 1,500, the one-to-many branch is shorter or empty; one image has no object."""
    torch.manual_seed(1)
    samples = []
    for boxes in ([[10., 10, 40, 50], [20, 5, 60, 60]], []):
        sample = DetDataSample(metainfo=dict(img_shape=size_hw))
        sample.gt_instances = InstanceData(bboxes=torch.tensor(boxes).view(-1, 4),
                                           labels=torch.arange(len(boxes)))
        samples.append(sample)
    model.train().zero_grad()
    seen = []
    handle = model.decoder.register_forward_hook(lambda *args: seen.append(args[2].logits.shape[2]))
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=bfloat16):
        losses = model.loss(torch.rand(2, 3, *size_hw), samples)
    handle.remove()
    assert seen == [num_queries]
    assert {'loss_cls', 'd0.loss_bbox', 'o2m.loss_giou', 'o2m.d0.loss_cls', 'enc.loss_cls'} <= set(losses)
    assert all(value.isfinite() for value in losses.values())
    sum(losses.values()).backward()
    assert not [name for name, p in model.named_parameters()
                if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())]
