"""Mask losses and costs against versions object by object."""

import pytest
import torch
import torch.nn.functional as F

from detrove.layers import BatchTargets
from detrove.losses import PointMaskCriterion, QueryMasks
from detrove.losses import mask as mask_module
from detrove.losses.mask import queries_of_objects
from detrove.ops.points import sample_points, uncertain_points

LAYERS, COUNTS, QUERIES, DIMS = 2, (2, 0, 3), 6, 4


def make_targets(counts=COUNTS):
    masks = torch.zeros(max(1, sum(counts)), 24, 32, dtype=torch.bool)
    for i in range(sum(counts)):
        masks[i, 2 * i:2 * i + 9, 3 * i:3 * i + 12] = True
    padded = max(1, *counts)
    valid = torch.arange(padded)[None] < torch.tensor(counts)[:, None]
    return BatchTargets(torch.zeros(len(counts), padded, dtype=torch.int64), torch.rand(len(counts), padded, 4), valid,
                        counts, masks)


def make_masks(queries=QUERIES):
    generator = torch.Generator().manual_seed(0)
    return QueryMasks(torch.randn(LAYERS, len(COUNTS), queries, DIMS, generator=generator).double().requires_grad_(),
                      torch.randn(len(COUNTS), DIMS, 6, 8, generator=generator).double().requires_grad_())


def match(groups, queries=QUERIES):
    """Another random match in every layer and group."""
    size = queries // groups
    matched = torch.full((len(COUNTS), LAYERS, groups, size), -1)
    for image, count in enumerate(COUNTS):
        for layer in range(LAYERS):
            for group in range(groups):
                matched[image, layer, group, torch.randperm(size)[:count]] = torch.arange(count)
    return matched.flatten(2)


def slow_losses(masks, matched, targets, points):
    """Query by query, at the points that were drawn for (layer, object, group)."""
    cross_entropy, dice = torch.zeros(LAYERS).double(), torch.zeros(LAYERS).double()
    for layer in range(LAYERS):
        drawn, first = iter(points[layer]), 0
        for image, count in enumerate(COUNTS):
            for gt in range(count):
                for query in (matched[image, layer] == gt).nonzero()[:, 0]:
                    place = next(drawn)[None]
                    logits = torch.einsum('d,dhw->hw', masks.embeddings[layer, image, query], masks.pixels[image])
                    at_points = sample_points(logits[None], place)[0]
                    wanted = sample_points(targets.masks[first + gt][None].double(), place)[0]
                    cross_entropy[layer] += F.binary_cross_entropy_with_logits(at_points, wanted)
                    prob = at_points.sigmoid()
                    dice[layer] += 1 - (2 * (prob * wanted).sum() + 1) / (prob.sum() + wanted.sum() + 1)
            first += count
    return 5 * cross_entropy, 3 * dice


@pytest.mark.parametrize('groups', [1, 2])
def test_losses_equal_the_loop(groups, monkeypatch):
    torch.manual_seed(0)
    drawn = []

    def remember(*args, **kwargs):
        drawn.append(uncertain_points(*args, **kwargs))
        return drawn[-1]

    monkeypatch.setattr(mask_module, 'uncertain_points', remember)
    masks, targets, matched = make_masks(), make_targets(), match(groups)
    criterion = PointMaskCriterion(weight_dice=3.0, num_points=50)
    losses = criterion(masks, matched, targets, groups)
    expected = slow_losses(masks, matched, targets, drawn)
    for value, slow in zip((losses['loss_mask'], losses['loss_dice']), expected, strict=True):
        torch.testing.assert_close(value, slow)
    gradients = torch.autograd.grad(sum(x.sum() for x in losses.values()), masks)
    for gradient, slow in zip(gradients, torch.autograd.grad(sum(x.sum() for x in expected), masks), strict=True):
        torch.testing.assert_close(gradient, slow)


def test_objects_without_query_and_images_without_objects_count_nothing():
    """Fewer queries than objects, and a batch without objects: the same graph, nothing learned."""
    masks = make_masks(queries=2)
    matched = torch.full((3, LAYERS, 2), -1)
    for targets in (make_targets(), make_targets((0, 0, 0))):
        losses = PointMaskCriterion(num_points=20)(masks, matched, targets)
        assert all(torch.equal(value, torch.zeros(LAYERS).double()) for value in losses.values())
        for gradient in torch.autograd.grad(sum(x.sum() for x in losses.values()), masks):
            assert not gradient.any()


def test_queries_of_objects_turns_the_match_round():
    torch.manual_seed(0)
    matched = match(2)[:, 0]
    query, found = queries_of_objects(matched, 2, 3)
    for image, count in enumerate(COUNTS):
        for group in range(2):
            for gt in range(3):
                assert found[image, group, gt] == (gt < count)
                assert query[image, group, gt] // 3 == group
                if gt < count:
                    assert matched[image, query[image, group, gt]] == gt


def test_costs_equal_the_losses_of_each_pair(monkeypatch):
    """Each pair of query and object, at points that are drawn again."""
    masks, targets = make_masks(), make_targets()
    criterion = PointMaskCriterion(cost_mask=2.0, cost_dice=3.0, num_points=40)
    torch.manual_seed(1)
    costs = criterion.costs(masks, targets)
    torch.manual_seed(1)
    points = torch.rand(len(COUNTS), 40, 2, dtype=torch.float64)
    assert costs.shape == (len(COUNTS), LAYERS * QUERIES, 3)
    first = 0
    for image, count in enumerate(COUNTS):
        for row in range(LAYERS * QUERIES):
            embedding = masks.embeddings[row // QUERIES, image, row % QUERIES]
            logits = sample_points(torch.einsum('d,dhw->hw', embedding, masks.pixels[image])[None], points[image][None])
            for gt in range(count):
                wanted = sample_points(targets.masks[first + gt][None].double(), points[image][None])
                prob = logits.sigmoid()
                expected = 2 * F.binary_cross_entropy_with_logits(logits, wanted) + 3 * (
                    1 - (2 * (prob * wanted).sum() + 1) / (prob.sum() + wanted.sum() + 1))
                torch.testing.assert_close(costs[image, row, gt], expected)
        first += count


def test_ratios_are_checked():
    with pytest.raises(ValueError, match='must be at least 1'):
        PointMaskCriterion(oversample_ratio=0.5)
