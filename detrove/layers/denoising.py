"""Denoising queries: noised ground truth that the decoder learns to restore."""

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from detrove.ops.boxes import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh, inverse_sigmoid

from .query_branches import BranchQueries, QueryBranch
from .targets import BatchTargets


@MODELS.register_module()
class ContrastiveDenoising(nn.Module):
    """Groups of positive queries (slightly noised objects) and negative ones (noised more, to be rejected).

    DINO (Zhang et al. 2023), section 3.3, in the form of RT-DETR: every group holds each object once as positive and
    once as negative; there are as many groups as fit `num_queries`, at least one. A batch without any object gets one
    dummy query pair that matches nothing, so that every rank builds the same graph.

    Args:
        num_queries: bound on the number of positive queries per image.
        num_classes: number of classes.
        embed_dims: channels of the queries.
        label_noise_ratio: half of it is the probability that a label is replaced by a random one.
        box_noise_scale: box corners move by up to this share of half the box's size (negatives by one to two times).
        eps: of the inverse sigmoid that makes references from boxes.
        centred_padding: images with fewer objects than others have empty slots, which their group attends to; their
            references lie at 0.5 (DINO, Relation-DETR) instead of 0 (RT-DETR).
    """

    def __init__(self, *, num_queries: int = 100, num_classes: int, embed_dims: int = 256,
                 label_noise_ratio: float = 0.5, box_noise_scale: float = 1.0, eps: float = 1e-5,
                 centred_padding: bool = False):
        super().__init__()
        self.num_queries = num_queries
        self.num_classes = num_classes
        self.label_noise_ratio = label_noise_ratio
        self.box_noise_scale = box_noise_scale
        self.eps = eps
        self.centred_padding = centred_padding
        # the last row stands for "no object" and stays zero
        self.label_embedding = nn.Embedding(num_classes + 1, embed_dims, padding_idx=num_classes)

    def forward(self, targets: BatchTargets) -> BranchQueries:
        """Draw the noise and build the queries of one batch."""
        batch, padded = targets.labels.shape
        most = max(targets.counts)
        groups = max(1, self.num_queries // most) if most else 1
        labels, boxes_cxcywh = self.add_noise(targets, groups)
        object_index = torch.arange(padded, device=labels.device).expand(batch, groups, padded)
        positive = torch.where(targets.valid[:, None], object_index, -1)
        matched_gt = torch.stack([positive, torch.full_like(positive, -1)], dim=2).flatten(1)
        branch = QueryBranch('dn', matched_gt.shape[1], groups, sees_main=True)
        reference_unact = inverse_sigmoid(boxes_cxcywh, self.eps)
        if self.centred_padding:
            reference_unact = reference_unact * targets.valid.repeat(1, 2 * groups)[..., None]
        return BranchQueries(branch, self.label_embedding(labels), reference_unact, matched_gt=matched_gt)

    def add_noise(self, targets: BatchTargets, groups: int) -> tuple[Tensor, Tensor]:
        """Noised labels (B, N) and boxes_cxcywh (B, N, 4); N runs over (group, positive / negative, object)."""
        repeats = (1, 2 * groups)
        valid = targets.valid.repeat(repeats)
        labels = targets.labels.masked_fill(~targets.valid, self.num_classes).repeat(repeats)
        flip = torch.rand(labels.shape, device=labels.device) < self.label_noise_ratio * 0.5
        labels = torch.where(flip & valid, torch.randint_like(labels, self.num_classes), labels)

        boxes = targets.boxes_cxcywh
        if targets.total == 0:
            boxes = boxes + boxes.new_tensor([0.5, 0.5, 0.1, 0.1])
        boxes = boxes.repeat(*repeats, 1)
        negative = torch.tensor([0.0, 1.0], device=boxes.device).repeat_interleave(targets.labels.shape[1])
        sign = torch.randint_like(boxes, 2) * 2 - 1
        amount = sign * (torch.rand_like(boxes) + negative.repeat(groups)[:, None])
        half_size = boxes[..., 2:].repeat(1, 1, 2) * 0.5
        boxes_xyxy = box_cxcywh_to_xyxy(boxes) + amount * half_size * self.box_noise_scale
        return labels, box_xyxy_to_cxcywh(boxes_xyxy.clamp(0, 1))
