"""Weights of MMDetection's Conditional DETR and DAB-DETR: the same predictions from our models."""

from pathlib import Path

import mmdet
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope

from detrove.apis import build_model
from detrove.checkpoints.deterministic import deterministic_images

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'
MMDET_CONFIGS = Path(mmdet.__file__).parent / '.mim/configs'
SMALL = dict(
    backbone=dict(depth=18, base_channels=8, init_cfg=None), neck=dict(in_channels=[64]),
    encoder=dict(num_layers=1), decoder=dict(num_layers=2))


@pytest.mark.parametrize('paper, name', [('conditional_detr', 'conditional-detr'), ('dab_detr', 'dab-detr')])
def test_same_predictions(paper, name):
    torch.manual_seed(0)
    path = f'{paper}/{name}_r50_8xb2-50e_coco.py'
    theirs, ours = (Config.fromfile(folder / path) for folder in (MMDET_CONFIGS, CONFIGS))
    for config in (theirs, ours):
        config.merge_from_dict(dict(model=SMALL))
    init_default_scope('mmdet')
    theirs = MODELS.build(theirs.model).eval()
    for parameter in theirs.parameters():  # box heads and norms start as constants
        torch.nn.init.normal_(parameter, std=0.1)
    ours = build_model(ours).eval()
    missing, unexpected = ours.load_state_dict({'state_dict': theirs.state_dict()}, strict=False)
    assert not missing and not unexpected

    images = deterministic_images(2, 64, 96)
    sizes_hw = [(64, 96), (64, 64)]
    samples = [DetDataSample(metainfo=dict(img_shape=size, batch_input_shape=(64, 96))) for size in sizes_hw]
    with torch.no_grad():
        logits, boxes_cxcywh = theirs(images, samples, mode='tensor')
        decoded = ours.decode(images, image_sizes_hw=sizes_hw).decoder
    torch.testing.assert_close(decoded.logits[-1], logits[-1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(decoded.boxes_cxcywh[-1], boxes_cxcywh[-1], rtol=1e-4, atol=1e-4)
