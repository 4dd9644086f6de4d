"""The GIoU-aware class loss and the high-order matching cost, against loops over single pairs."""

import math

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader, TensorDataset

from detrove.assigners import HungarianMatcher
from detrove.assigners.hungarian import MatchSet
from detrove.layers import BatchTargets
from detrove.projects.rank_detr import HighOrderMatcher, QueryGIoUAwareFocalLoss

QUERIES, CLASSES = 6, 4


def make_predictions(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, QUERIES, CLASSES, generator=generator, dtype=torch.float64) * 2
    boxes = 0.2 + 0.5 * torch.rand(2, QUERIES, 4, generator=generator, dtype=torch.float64)
    return logits, boxes


def make_targets():
    """Three objects in the first image, none in the second."""
    boxes = torch.zeros(2, 3, 4, dtype=torch.float64)
    boxes[0] = torch.tensor([[0.3, 0.3, 0.4, 0.4], [0.6, 0.6, 0.3, 0.5], [0.05, 0.95, 0.02, 0.02]])
    labels = torch.tensor([[1, 3, 0], [0, 0, 0]])
    return BatchTargets(labels, boxes, torch.tensor([[True] * 3, [False] * 3]), (3, 0))


def iou(a, b, eps):
    """Of two boxes cxcywh, in plain Python."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.tolist(), b.tolist()
    width = max(0, min(ax + aw / 2, bx + bw / 2) - max(ax - aw / 2, bx - bw / 2))
    height = max(0, min(ay + ah / 2, by + bh / 2) - max(ay - ah / 2, by - bh / 2))
    return width * height / (aw * ah + bw * bh - width * height + eps)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.fixture
def progress():
    """Sets how far training has come, as the runner does."""
    hub = MessageHub.get_instance('test_switch')

    def set_progress(iteration, max_iters):
        hub.update_info_dict(dict(loop_stage='train', iter=iteration, max_iters=max_iters))

    yield set_progress
    hub.pop_info('loop_stage', None)


@pytest.mark.parametrize('alpha, gamma', [(0.25, 2.0), (0.4, 1.5)])
def test_class_loss_against_single_logits(alpha, gamma):
    logits, _ = make_predictions()
    labels = torch.randint(0, CLASSES, (2, QUERIES), generator=torch.Generator().manual_seed(1))
    matched = torch.zeros(2, QUERIES, dtype=torch.float64)
    matched[0, 1] = matched[0, 4] = matched[1, 0] = 1
    giou = torch.linspace(-1, 1, 2 * QUERIES, dtype=torch.float64).view(2, QUERIES)
    loss = QueryGIoUAwareFocalLoss(alpha=alpha, gamma=gamma)(logits, labels, matched, giou)
    for image, query in torch.cartesian_prod(torch.arange(2), torch.arange(QUERIES)).tolist():
        expected = 0
        for label in range(CLASSES):
            p, t = sigmoid(logits[image, query, label].item()), (giou[image, query].item() + 1) / 2
            if matched[image, query] and labels[image, query] == label:
                expected += alpha * abs(t - p) ** gamma * -(t * math.log(p) + (1 - t) * math.log(1 - p))
            else:
                expected += (1 - alpha) * p ** gamma * -math.log(1 - p)
        assert loss[image, query].item() == pytest.approx(expected, rel=1e-9)


def test_class_loss_of_a_perfect_prediction():
    """Least, and without gradient, where the score is the quality; a score of one is not asked for."""
    giou, one = torch.tensor([0.5], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    logits = torch.logit(torch.tensor([[0.75]], dtype=torch.float64)).requires_grad_()
    loss = QueryGIoUAwareFocalLoss()(logits, torch.zeros(1, dtype=torch.int64), one, giou)
    loss.sum().backward()
    assert loss.item() == pytest.approx(0, abs=1e-12) and logits.grad.item() == pytest.approx(0, abs=1e-12)


def test_class_loss_of_extreme_logits():
    logits = torch.tensor([[-200.0, 200.0], [200.0, -200.0]], requires_grad=True)
    matched = torch.tensor([1.0, 0.0])
    loss = QueryGIoUAwareFocalLoss()(logits, torch.zeros(2, dtype=torch.int64), matched, torch.tensor([-1.0, 1.0]))
    loss.sum().backward()
    assert loss.isfinite().all() and logits.grad.isfinite().all()


@pytest.mark.parametrize('power', [2.0, 4.0])
def test_high_order_cost_against_single_pairs(power):
    logits, boxes = make_predictions()
    targets = make_targets()
    agnostic = torch.tensor([False] * 4 + [True] * 2)  # two tokens of the encoder
    matcher = HighOrderMatcher(iou_power=power, switch_at=0.0, iou_eps=1e-6)
    cost = matcher.cost_matrix(logits, boxes, targets, agnostic)
    for query in range(QUERIES):
        for gt in range(3):
            label = 0 if agnostic[query] else targets.labels[0, gt]
            expected = -sigmoid(logits[0, query, label].item())
            expected *= iou(boxes[0, query], targets.boxes_cxcywh[0, gt], 1e-6) ** power
            assert cost[0, query, gt].item() == pytest.approx(expected, rel=1e-9)
    matched = matcher(logits, boxes, targets, [MatchSet(4), MatchSet(2)], agnostic)
    assert sorted(matched[0, :4].tolist()) == [-1, 0, 1, 2]
    assert (matched[1] == -1).all()


def test_switch_at_a_share_of_training(progress):
    """The cost changes at the iteration 67,500 of 90,000, counted from zero."""
    predictions, targets = make_predictions(), make_targets()
    matcher, plain = HighOrderMatcher(iou_eps=1e-6), HungarianMatcher(iou_eps=1e-6)
    high_order = HighOrderMatcher(iou_eps=1e-6, switch_at=0.0)
    never = HighOrderMatcher(iou_eps=1e-6, switch_at=None)
    for iteration, expected in ((0, plain), (67_499, plain), (67_500, high_order), (89_999, high_order)):
        progress(iteration, 90_000)
        costs, wanted, unswitched, before = (
            x.cost_matrix(*predictions, targets) for x in (matcher, expected, never, plain))
        torch.testing.assert_close(costs, wanted)
        torch.testing.assert_close(unswitched, before)


def test_outside_of_training():
    assert not HighOrderMatcher().is_high_order
    assert HighOrderMatcher(switch_at=0.0).is_high_order


def test_a_runner_moves_the_switch(tmp_path):
    """mmengine's own loop keeps the numbers that the matcher reads, and after it all is as before."""
    matcher, seen = HighOrderMatcher(switch_at=0.5), []

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, inputs, mode='tensor'):
            seen.append(matcher.is_high_order)
            return dict(loss=self.weight.sum())

    runner = Runner(Model(), str(tmp_path), train_dataloader=DataLoader(TensorDataset(torch.zeros(3, 1))),
                    train_cfg=dict(by_epoch=True, max_epochs=2), experiment_name='test_switch_in_a_runner',
                    optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)), log_level='ERROR')
    runner.train()
    assert seen == [False] * 3 + [True] * 3
    assert not matcher.is_high_order


@pytest.mark.parametrize('share', [-0.1, 1.5, 67_500])
def test_switch_outside_of_training(share):
    with pytest.raises(ValueError, match=f'switch_at={share}'):
        HighOrderMatcher(switch_at=share)
