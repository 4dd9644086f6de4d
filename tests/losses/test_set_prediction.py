"""All sets of predictions in one pass against each set by itself."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS

from detrove.assigners import HungarianMatcher
from detrove.assigners.hungarian import MatchSet
from detrove.layers import BatchTargets, QueryBranch
from detrove.losses import DETRCriterion, PredictionSet, set_losses

CLASSES = 4


def make_set(name, queries, layers, copies, seed, **settings):
    generator = torch.Generator().manual_seed(seed)
    branch_settings = {key: settings.pop(key) for key in ('num_groups', 'targets_per_object', 'loss_weight')
                       if key in settings}
    branch = QueryBranch(name, queries, **branch_settings)
    logits = torch.randn(layers, 2, queries, CLASSES, generator=generator)
    boxes = torch.rand(layers, 2, queries, 4, generator=generator) * 0.3 + 0.2
    return PredictionSet(branch, logits, boxes, settings.pop('matched_gt', None), copies, **settings)


@pytest.fixture
def targets():
    torch.manual_seed(0)
    counts = (3, 1)
    return BatchTargets(torch.randint(1, CLASSES, (2, 3)), torch.rand(2, 3, 4) * 0.3 + 0.2,
                        torch.arange(3)[None] < torch.tensor(counts)[:, None], counts)


@pytest.fixture
def sets():
    known = torch.tensor([[0, 1, 2, -1], [0, -1, -1, -1]])
    return [
        make_set('main', 6, 3, 1, seed=1),
        make_set('dn', 4, 3, 2, seed=2, matched_gt=known, num_groups=2),
        make_set('o2m', 8, 3, 2, seed=3, targets_per_object=2, loss_weight=0.5),
        make_set('group', 12, 3, 3, seed=4, num_groups=2),
        make_set('main', 9, 1, 1, seed=5, from_encoder=True, class_agnostic=True),
    ]


def alone(part, targets, criterion, num_objects):
    """Losses of one set, layer by layer and group by group."""
    losses = {}
    for layer, prefix in enumerate(part.loss_names):
        logits, boxes = part.logits[layer], part.boxes_cxcywh[layer]
        agnostic = torch.full((logits.shape[1],), part.class_agnostic)
        if part.matched_gt is None:
            size = logits.shape[1] // part.branch.num_groups
            matched = torch.cat([
                HungarianMatcher()(logits[:, i:i + size], boxes[:, i:i + size], targets,
                                   [MatchSet(size, part.branch.targets_per_object)], agnostic[i:i + size])
                for i in range(0, logits.shape[1], size)], 1)
        else:
            matched = part.matched_gt
        for name, value in criterion(logits, boxes, matched, targets, agnostic).items():
            losses[prefix + name] = value.sum() * part.branch.loss_weight / (num_objects * part.copies)
    return losses


@pytest.mark.parametrize('separate_encoder', [False, True])
def test_equals_each_set_by_itself(sets, targets, separate_encoder):
    criterion = DETRCriterion(loss_class=dict(type='QueryVarifocalLoss'))
    encoder_criterion = DETRCriterion(loss_class=dict(type='QueryFocalLoss')) if separate_encoder else None
    losses = set_losses(sets, targets, torch.tensor(4.0), HungarianMatcher(), criterion, encoder_criterion)
    expected = {}
    for part in sets:
        used = encoder_criterion if part.from_encoder and separate_encoder else criterion
        expected |= alone(part, targets, used, 4.0)
    assert losses.keys() == expected.keys()
    some = {'loss_cls', 'd0.loss_giou', 'enc.loss_bbox', 'dn.d1.loss_cls', 'o2m.loss_cls', 'group.loss_bbox'}
    assert some <= set(losses)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)


def test_one_copy_to_the_host(sets, targets, monkeypatch):
    copies = []
    original = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, 'cpu', lambda self: (copies.append(self.shape), original(self))[1])
    set_losses(sets, targets, torch.tensor(4.0), HungarianMatcher(),
               DETRCriterion(loss_class=dict(type='QueryVarifocalLoss')))
    assert copies == [(2, 3 * 6 + 3 * 8 + 3 * 12 + 9, 3)]


def test_focal_loss_equals_torchvision():
    from torchvision.ops import sigmoid_focal_loss
    torch.manual_seed(0)
    logits, labels, matched = torch.randn(5, 7, CLASSES), torch.randint(0, CLASSES, (5, 7)), (torch.rand(5, 7) > 0.5)
    loss = MODELS.build(dict(type='QueryFocalLoss'))(logits, labels, matched.float(), torch.rand(5, 7))
    positive = (F.one_hot(labels, CLASSES) * matched[..., None]).float()
    torch.testing.assert_close(loss, sigmoid_focal_loss(logits, positive, alpha=0.25, gamma=2.0).sum(-1))


def test_divisor_is_at_least_one():
    """For one-to-many sets after counting the copies, for denoising before: as in the official codes."""
    o2m, dn = make_set('o2m', 8, 1, 6, seed=0), make_set('dn', 4, 1, 6, seed=0, matched_gt=torch.zeros(2, 4))
    assert [o2m.divisor(torch.tensor(x)).item() for x in (0.0, 0.5, 2.0)] == [1, 3, 12]
    assert [dn.divisor(torch.tensor(x)).item() for x in (0.0, 0.5, 2.0)] == [6, 6, 12]
