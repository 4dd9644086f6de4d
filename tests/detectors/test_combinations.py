"""The contract of every combination of a base and components, on small models.

Run the whole matrix with `pytest tests/detectors/test_combinations.py --combinations all`; without it a sample is run.
"""

import copy
import itertools
from pathlib import Path

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from detrove.apis import build_model
from detrove.layers import collate_targets

NANO = Path(__file__).resolve().parents[2] / 'configs/rt_detr/rtdetr_nano_shapes.py'
ENCODER = dict(type='DeformableEncoder', num_layers=1, num_heads=4, num_points=2, feedforward_dims=64)
BASES = dict(
    rt_detr={},
    dino=dict(
        padding_mask=True, encoder=ENCODER,
        query_selection=dict(content='learned'),
        decoder=dict(position=dict(type='SineBoxPosition', _delete_=True), norm=True, eps=1e-3, init='xavier'),
        bbox_head=dict(shared=True)),
    deformable=dict(
        padding_mask=True, encoder=ENCODER,
        query_selection=dict(content='position', fixed_position=True, class_agnostic=True, supervise='all'),
        decoder=dict(position=None, look_forward_twice=False, init='xavier')),
)
COMPONENTS = dict(
    denoising=dict(denoising=dict(type='ContrastiveDenoising', num_queries=10)),
    one_to_many=dict(one_to_many=dict(type='OneToManyBranch', num_queries=40, targets_per_object=3)),
    group=dict(groups=dict(type='GroupBranch', num_groups=3)),
    rank=dict(
        decoder=dict(ranking=dict(type='QueryRanking', num_queries=20, num_one_to_many=40)),
        bbox_head=dict(type='RankAdaptiveHead', num_queries=20, num_one_to_many=40),
        matcher=dict(type='HighOrderMatcher'),
        criterion=dict(loss_class=dict(type='QueryGIoUAwareFocalLoss'), quality='giou')),
    relation=dict(decoder=dict(relation=dict(type='PositionRelation'))),
)
SETS = [tuple(names) for size in range(len(COMPONENTS) + 1) for names in itertools.combinations(COMPONENTS, size)]
MATRIX = list(itertools.product(BASES, SETS))
SAMPLE = [(base, names) for base, names in MATRIX if len(names) == len(COMPONENTS)] + [
    ('rt_detr', ()), ('dino', ('denoising',)), ('deformable', ('one_to_many', 'rank')),
    ('rt_detr', ('group', 'relation'))]


def pytest_generate_tests(metafunc):
    if 'combination' in metafunc.fixturenames:
        chosen = MATRIX if metafunc.config.getoption('--combinations') == 'all' else SAMPLE
        metafunc.parametrize('combination', chosen, ids=lambda pair: '+'.join([pair[0], *pair[1]]))


def make_model(base, names=()):
    """A model of 2 decoder layers and 20 queries."""
    config = Config.fromfile(NANO)
    small = dict(
        backbone=dict(base_channels=8), embed_dims=32, query_selection=dict(num_queries=20),
        neck=[dict(type='HybridEncoder', in_channels=[16, 32, 64], embed_dims=32, num_heads=4, feedforward_dims=32,
                   expansion=0.5, depth_mult=1 / 3),
              dict(type='ChannelMapper', in_channels=[32] * 3, out_channels=32, kernel_size=1, act_cfg=None,
                   num_outs=3)],
        decoder=dict(layer=dict(feedforward_dims=32)))
    del config.model['denoising']
    for part in (small, BASES[base], *(COMPONENTS[name] for name in names)):
        config.merge_from_dict(dict(model=copy.deepcopy(part)), allow_list_keys=False)
    torch.manual_seed(0)
    return build_model(config)


def make_batch(counts):
    """Images of two sizes in inputs of 64 x 96."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for i, count in enumerate(counts):
        height, width = [(64, 96), (56, 64)][i % 2]
        corner = torch.rand(count, 2, generator=generator) * 20
        sample = DetDataSample(metainfo=dict(img_shape=(height, width), scale_factor=(1.0, 1.0)))
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + 8 + torch.rand(count, 2, generator=generator) * 20], 1),
            labels=torch.randint(0, 6, (count,), generator=generator))
        samples.append(sample)
    return torch.rand(len(counts), 3, 64, 96, generator=generator), samples


def test_one_training_step(combination):
    """Finite losses of every branch, a gradient for every parameter."""
    model = make_model(*combination).train()
    losses = model.loss(*make_batch((4, 0)))
    assert all(torch.isfinite(value) for value in losses.values())
    branches = {name.split('.')[0] for name in losses} - {'d0', 'enc', 'loss_cls', 'loss_bbox', 'loss_giou'}
    assert branches == {dict(denoising='dn', one_to_many='o2m', group='group')[name]
                        for name in combination[1] if name in ('denoising', 'one_to_many', 'group')}
    sum(losses.values()).backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_a_batch_without_objects_builds_the_same_graph(combination):
    model = make_model(*combination).train()
    losses = model.loss(*make_batch((0, 0)))
    assert losses.keys() == model.loss(*make_batch((3, 1))).keys()
    sum(losses.values()).backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


def test_order_of_images_does_not_matter(combination):
    base, names = combination
    model = make_model(base, names).train().double()
    model.denoising = None  # its noise is drawn image after image
    for module in model.modules():  # and batch statistics round differently
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    inputs, samples = make_batch((3, 0, 2, 1))
    order = [2, 3, 0, 1]
    losses = model.loss(inputs.double(), samples)
    reordered = model.loss(inputs[order].double(), [samples[i] for i in order])
    for name in losses:
        torch.testing.assert_close(losses[name], reordered[name], rtol=1e-8, atol=1e-8)


def test_training_branches_leave_inference_alone(combination):
    """The same weights predict the same with and without the branches that exist in training only."""
    base, names = combination
    training_only = ('denoising', 'one_to_many', 'group')
    model = make_model(base, names).eval()
    plain = make_model(base, [name for name in names if name not in training_only]).eval()
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if name in plain.state_dict()})
    inputs, samples = make_batch((0, 0))
    with torch.no_grad():
        predictions = model.predict(inputs, samples)
        expected = plain.predict(inputs, copy.deepcopy(samples))
    for ours, theirs in zip(predictions, expected, strict=True):
        assert len(ours.pred_instances) > 0
        assert torch.equal(ours.pred_instances.scores, theirs.pred_instances.scores)
        assert torch.equal(ours.pred_instances.bboxes, theirs.pred_instances.bboxes)


def test_main_queries_do_not_see_other_branches(combination):
    """Losses of the main branch are the same with and without the other branches (up to the share of groups)."""
    base, names = combination
    model = make_model(base, names).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    inputs, samples = make_batch((3, 2))
    losses = model.loss(inputs, samples)
    share = 1 if model.groups is None else model.groups.num_groups
    model.denoising = model.one_to_many = model.groups = None
    for name, value in model.loss(inputs, samples).items():
        torch.testing.assert_close(losses[name] * share, value, rtol=1e-4, atol=1e-5)


def test_groups_are_isolated():
    """What one group is changes nothing in another: a group's losses depend on its own queries alone."""
    model = make_model('dino', ('group',)).train()
    inputs, samples = make_batch((3, 2))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    targets = collate_targets(samples, [(64, 96), (56, 64)], 6, inputs.device)
    before = model.decode(inputs, targets).decoder.logits
    with torch.no_grad():
        model.groups.selections[1].content.weight.add_(1.0)
    after = model.decode(inputs, targets).decoder.logits
    assert torch.equal(before[:, :, :40], after[:, :, :40])
    assert not torch.allclose(before[:, :, 40:], after[:, :, 40:])


def test_fewer_tokens_than_queries():
    """A small image has no tokens left for the one-to-many branch; training goes on."""
    model = make_model('dino', ('one_to_many',)).train()
    model.query_selection.num_queries = 20
    inputs, samples = make_batch((2, 1))
    losses = model.loss(inputs[:, :, :32, :32], samples)
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())


@pytest.mark.parametrize('part', ['denoising', 'relation'])
def test_parts_that_need_boxes_refuse_points(part):
    config = Config.fromfile(NANO)
    if part == 'relation':
        del config.model['denoising']
        config.model.decoder.relation = dict(type='PositionRelation')
    config.model.query_selection = dict(type='LearnedQueries', num_queries=20)
    with pytest.raises(ValueError, match=f'{part} needs queries that start as boxes'):
        build_model(config)


def test_one_to_many_branch_of_learned_queries():
    """A one-stage model has no encoder predictions, in the further branch neither."""
    learned = dict(type='LearnedQueries', reference='anchor')
    config = Config.fromfile(NANO)
    config.model.query_selection = dict(learned, num_queries=20)
    config.model.one_to_many = dict(type='OneToManyBranch', num_queries=30, targets_per_object=3, selection=learned)
    losses = build_model(config).train().loss(*make_batch((3, 1)))
    assert 'o2m.loss_cls' in losses and not any('enc.' in name for name in losses)
    assert all(torch.isfinite(value) for value in losses.values())


def test_a_single_group_is_refused():
    with pytest.raises(ValueError, match='must be at least 2'):
        build_model(NANO, {'model.groups': dict(type='GroupBranch', num_groups=1)})
