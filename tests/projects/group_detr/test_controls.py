"""The two rows of Group DETR's table 7 that its design avoids, each for what makes it fail."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from detrove.apis import build_model
from detrove.layers.query_branches import QueryBranch, sets_in_attention

IMAGES = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def make_model(root, name):
    """12 queries a group, 3 groups or 3 queries for an object, on a small ResNet with two decoder layers."""
    config = Config.fromfile(root / f'configs/group_detr/ablations/group-conditional-detr_r50_8xb2-12e_coco-{name}.py')
    layer = dict(feedforward_dims=32, num_heads=2, dropout=0.0)
    config.merge_from_dict(dict(model=dict(
        embed_dims=32, backbone=dict(depth=18, base_channels=8, init_cfg=None),
        neck=dict(in_channels=[64], out_channels=32), encoder=dict(num_layers=1, **layer),
        query_selection=dict(num_queries=12), decoder=dict(num_layers=2, layer=layer))))
    if config.model.groups is None:
        config.model.targets_per_object = 3
    else:
        config.model.groups.num_groups = 3
    torch.manual_seed(0)
    return build_model(config).train()


def make_samples():
    sample = DetDataSample(metainfo=dict(img_shape=(64, 96)))
    sample.gt_instances = InstanceData(bboxes=torch.tensor([[8.0, 8, 40, 40], [30, 10, 80, 60]]),
                                       labels=torch.tensor([1, 4]))
    return [sample]


@pytest.mark.parametrize('name', ['shared-attention', 'naive'])
def test_one_training_step(pytestconfig, name):
    losses = make_model(pytestconfig.rootpath, name).loss(IMAGES, make_samples())
    assert all(torch.isfinite(value) for value in losses.values())


def test_without_separate_attention_groups_see_each_other(pytestconfig):
    """All of them, the main one too; matching and the losses still tell groups apart, and inference has one."""
    model = make_model(pytestconfig.rootpath, 'shared-attention')
    targets = model.collate(IMAGES, make_samples())
    with torch.no_grad():
        before = model.decode(IMAGES, targets, [(64, 96)])
        alone = model.eval().decode(IMAGES, image_sizes_hw=[(64, 96)]).decoder
        for table in model.groups.selections[1].parameters():  # the third group, the first being the main branch
            table.add_(torch.randn_like(table))
        after = model.train().decode(IMAGES, targets, [(64, 96)]).decoder
        still = model.eval().decode(IMAGES, image_sizes_hw=[(64, 96)]).decoder
    assert [(part.branch.name, part.branch.num_groups) for part in before.branches] == [('main', 1), ('group', 2)]
    assert (before.decoder.logits[-1, :, :24] != after.logits[-1, :, :24]).any(-1).all()
    assert alone.logits.shape[2] == 12 and torch.equal(alone.logits, still.logits)


def test_naive_one_to_many_matches_main_queries_several_times(pytestconfig):
    model = make_model(pytestconfig.rootpath, 'naive')
    targets = model.collate(IMAGES, make_samples())
    with torch.no_grad():
        outputs = model.decode(IMAGES, targets, [(64, 96)])
    branch, = (part.branch for part in outputs.branches)
    assert (branch.name, branch.num_queries, branch.targets_per_object) == ('main', 12, 3)
    assert model._copies_of_objects(branch) == 3


def test_only_what_joins_the_main_branch_becomes_part_of_it():
    main, joined = QueryBranch('main', 6), QueryBranch('group', 12, 2, joins_main=True)
    dn = QueryBranch('dn', 4, 2, sees_main=True)
    assert sets_in_attention([main, joined, dn]) == [QueryBranch('main', 18), dn]
    assert sets_in_attention([main, QueryBranch('group', 12, 2), dn]) == [main, QueryBranch('group', 12, 2), dn]
