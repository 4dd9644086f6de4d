"""Denoising queries: layout, matching, bounds of the noise."""

import torch

from detrove.layers import BatchTargets, ContrastiveDenoising
from detrove.ops.boxes import box_cxcywh_to_xyxy


def make_targets(*counts):
    torch.manual_seed(1)
    padded = max(1, *counts)
    valid = torch.arange(padded)[None] < torch.tensor(counts)[:, None]
    labels = torch.randint(0, 5, (len(counts), padded)) * valid
    centre, size = torch.rand(len(counts), padded, 2) * 0.4 + 0.3, torch.rand(len(counts), padded, 2) * 0.2 + 0.05
    return BatchTargets(labels, torch.cat([centre, size], -1) * valid[..., None], valid, counts)


def test_layout_and_matching():
    denoising = ContrastiveDenoising(num_queries=10, num_classes=5, embed_dims=8)
    queries = denoising(make_targets(3, 1))
    # 10 // 3 groups of 3 positives and 3 negatives
    assert queries.branch.num_groups == 3 and queries.branch.num_queries == 18 and queries.branch.sees_main
    assert queries.matched_gt[0].tolist() == [0, 1, 2, -1, -1, -1] * 3
    assert queries.matched_gt[1].tolist() == [0, -1, -1, -1, -1, -1] * 3
    # padded slots carry the constant zero row
    assert not queries.content[1, 1:3].any()


def test_noise_stays_in_bounds():
    """Corners of positives move by less than half a side, those of negatives by half a side to a whole one."""
    denoising = ContrastiveDenoising(num_queries=400, num_classes=5, embed_dims=8)
    targets = make_targets(2)
    torch.manual_seed(0)
    _, boxes = denoising.add_noise(targets, groups=200)
    moved = box_cxcywh_to_xyxy(boxes) - box_cxcywh_to_xyxy(targets.boxes_cxcywh).repeat(1, 400, 1)
    share = (moved / targets.boxes_cxcywh[..., 2:].repeat(1, 400, 2)).abs().view(200, 2, 2, 4)
    assert share[:, 0].max() < 0.5 and share[:, 0].max() > 0.45
    assert share[:, 1].min() > 0.499 and share[:, 1].max() < 1.001


def test_share_of_flipped_labels():
    denoising = ContrastiveDenoising(num_queries=4000, num_classes=1000, embed_dims=8, label_noise_ratio=0.5)
    torch.manual_seed(0)
    targets = make_targets(2)
    labels, _ = denoising.add_noise(targets, groups=2000)
    changed = (labels != targets.labels.repeat(1, 4000)).float().mean()
    assert abs(changed - 0.25) < 0.01


def test_no_noise():
    denoising = ContrastiveDenoising(num_queries=4, num_classes=5, embed_dims=8, label_noise_ratio=0, box_noise_scale=0)
    targets = make_targets(2)
    labels, boxes = denoising.add_noise(targets, groups=2)
    assert torch.equal(labels, targets.labels.repeat(1, 4))
    torch.testing.assert_close(boxes, targets.boxes_cxcywh.repeat(1, 4, 1))


def test_batch_without_objects_builds_the_same_graph():
    denoising = ContrastiveDenoising(num_queries=10, num_classes=5, embed_dims=8)
    queries = denoising(make_targets(0, 0))
    assert queries.branch.num_queries == 2 and (queries.matched_gt == -1).all()
    assert torch.isfinite(queries.reference_unact).all()
    queries.content.sum().backward()
    assert denoising.label_embedding.weight.grad is not None


def test_more_objects_than_queries_gives_one_group():
    queries = ContrastiveDenoising(num_queries=10, num_classes=5, embed_dims=8)(make_targets(25))
    assert queries.branch.num_groups == 1 and queries.branch.num_queries == 50
