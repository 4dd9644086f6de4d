"""Groups do not see each other, and inference does not know of them."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from detrove.apis import build_model
from detrove.checkpoints.deterministic import deterministic_images
from detrove.layers import BatchTargets

CONFIGS = Path(__file__).resolve().parents[3] / 'configs/group_detr'
NAMES = ['group-conditional-detr_r50_8xb2-12e_coco', 'group-dab-detr_r50_8xb2-12e_coco',
         'group-dab-deformable-detr_r50_8xb2-12e_coco', 'group-deformable-detr_r50_16xb2-50e_coco']
TARGETS = BatchTargets(torch.tensor([[1, 2]]), torch.full((1, 2, 4), 0.4).double(), torch.ones(1, 2, dtype=torch.bool),
                       (2,))


def make_model(name, **options):
    """5 groups of 6 queries on a small ResNet, one encoder and two decoder layers, no dropout, box heads not zero."""
    config = Config.fromfile(CONFIGS / f'{name}.py')
    layer = dict(feedforward_dims=32, num_heads=2, dropout=0.0)
    one_level = 'deformable' not in name
    config.merge_from_dict(dict(model=dict(
        embed_dims=32,
        backbone=dict(depth=18, base_channels=8, init_cfg=None),
        neck=dict(in_channels=[64] if one_level else [16, 32, 64], out_channels=32),
        encoder=dict(num_layers=1, **layer),
        query_selection=dict(num_queries=6),
        decoder=dict(num_layers=2, layer=layer),
        groups=dict(num_groups=5),
    )))
    config.merge_from_dict(options)
    torch.manual_seed(0)
    model = build_model(config).double()
    for part in model.bbox_head.bbox_heads:
        torch.nn.init.normal_(part.layers[-1].weight, std=0.1)
    return model


def decode(model, train):
    return model.train(train).decode(deterministic_images(1, 64, 96).double(), TARGETS).decoder


@pytest.mark.parametrize('name', NAMES)
def test_groups_are_isolated(name):
    model = make_model(name)
    with torch.no_grad():
        logits, boxes, _ = decode(model, train=False)
        assert logits.shape[:3] == (1, 1, 6)
        training = decode(model, train=True)
        assert training.logits.shape[:3] == (2, 1, 30)
        torch.testing.assert_close(training.logits[-1, :, :6], logits[-1], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(training.boxes_cxcywh[-1, :, :6], boxes[-1], rtol=1e-12, atol=1e-12)

        changed = model.groups.selections[2]  # the fourth group: the first is the main branch
        for table in changed.parameters():
            table.add_(torch.randn_like(table))
        after = decode(model, train=True)
    others = [i for i in range(30) if i // 6 != 3]
    assert torch.equal(after.logits[:, :, others], training.logits[:, :, others])
    assert torch.equal(after.boxes_cxcywh[:, :, others], training.boxes_cxcywh[:, :, others])
    assert (after.logits[:, :, 18:24] != training.logits[:, :, 18:24]).all()


@pytest.mark.parametrize('name', NAMES)
def test_the_first_group_alone_is_the_model_without_groups(name):
    """A further group adds tables of queries, and nothing to inference."""
    model, plain = make_model(name), make_model(name, **{'model.groups': None})
    added = model.state_dict().keys() - plain.state_dict().keys()
    assert not plain.state_dict().keys() - model.state_dict().keys()
    assert {key.rpartition('.')[0].split('.', 3)[-1] for key in added} <= {'anchors', 'content', 'position'}
    plain.load_state_dict({key: value for key, value in model.state_dict().items() if key not in added})
    with torch.no_grad():
        for ours, expected in zip(decode(model, train=False)[:2], decode(plain, train=False)[:2], strict=True):
            assert torch.equal(ours, expected)
