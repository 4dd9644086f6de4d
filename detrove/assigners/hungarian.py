"""Hungarian matching of all layers, branches, groups and images at once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from detrove.layers.precision import at_least_fp32
from detrove.layers.rows import Rows, gather_rows, num_rows, rows_of_images
from detrove.layers.targets import BatchTargets
from detrove.ops.boxes import box_cxcywh_to_xyxy, pairwise_giou


class MatchSet(NamedTuple):
    """Consecutive queries that are matched by themselves.

    num_queries; targets_per_object: queries that each object gets.
    """

    num_queries: int
    targets_per_object: int = 1


@TASK_UTILS.register_module()
class HungarianMatcher:
    """One query for each object, so that the summed cost of class, L1 and GIoU is least.

    DETR (Carion et al. 2020), section 3.1, with the focal class cost of Deformable DETR. The costs of all sets of
    queries and images are one tensor, copied to the host once.

    Args:
        cost_class, cost_bbox, cost_giou: weights of the three costs.
        alpha, gamma: of the focal class cost.
        iou_eps: added to the denominators of the GIoU.
    """

    def __init__(self, *, cost_class: float = 2.0, cost_bbox: float = 5.0, cost_giou: float = 2.0,
                 alpha: float = 0.25, gamma: float = 2.0, iou_eps: float = 0.0):
        self.cost_class = cost_class
        self.cost_bbox = cost_bbox
        self.cost_giou = cost_giou
        self.alpha = alpha
        self.gamma = gamma
        self.iou_eps = iou_eps

    @torch.no_grad()
    def __call__(self, logits: Rows, boxes_cxcywh: Tensor, targets: BatchTargets,
                 sets: Sequence[MatchSet], class_agnostic: Tensor | None = None,
                 further_costs: Tensor | None = None) -> Tensor:
        """Match every set of queries and image by itself.

        Args:
            logits: (B, R, num_classes), all sets one behind the other, or their parts.
            boxes_cxcywh: (B, R, 4), normalised.
            targets: M objects at most in each of B images.
            sets: their sizes sum to R.
            class_agnostic: (R,) bool, queries for which every object is class 0; None for no such queries.
            further_costs: (B, R, M), added to the cost of each query for each object; None for none.

        Returns:
            matched_gt (B, R) int64: the index of the query's object in its image, -1 without one.

        Raises:
            FloatingPointError: if a prediction is NaN or infinite.
        """
        costs = self._costs(logits, at_least_fp32(boxes_cxcywh), targets, class_agnostic)
        costs = (costs if further_costs is None else costs + further_costs).cpu().numpy()
        matched = np.full(costs.shape[:2], -1, dtype=np.int64)
        for image, count in enumerate(targets.counts):
            if count and not np.isfinite(costs[image, :, :count]).all():
                raise FloatingPointError(self._describe_invalid(logits, boxes_cxcywh, image))
            end = 0
            for part in sets if count else ():
                start, end = end, end + part.num_queries
                cost = costs[image, start:end, :count].T
                if part.targets_per_object > 1:
                    cost = np.tile(cost, (part.targets_per_object, 1))
                gt, query = linear_sum_assignment(cost)
                matched[image, start + query] = gt % count
        return torch.from_numpy(matched).to(boxes_cxcywh.device, non_blocking=True)

    def _costs(self, logits: Rows, boxes_cxcywh: Tensor, targets: BatchTargets,
               class_agnostic: Tensor | None) -> Tensor:
        """`cost_matrix`; on a CPU image by image, of the objects that are there, in what its caches hold."""
        if boxes_cxcywh.device.type != 'cpu':
            return self.cost_matrix(logits, boxes_cxcywh, targets, class_agnostic)
        costs = boxes_cxcywh.new_zeros(len(boxes_cxcywh), targets.labels.shape[1], boxes_cxcywh.shape[1])
        for image, count in enumerate(targets.counts):
            if count:
                one = slice(image, image + 1)
                objects = BatchTargets(targets.labels[one, :count], targets.boxes_cxcywh[one, :count],
                                       targets.valid[one, :count], (count,))
                found = self.cost_matrix(rows_of_images(logits, one), boxes_cxcywh[one], objects, class_agnostic)
                costs[one, :count] = found.mT
        return costs.mT

    def cost_matrix(self, logits: Rows, boxes_cxcywh: Tensor, targets: BatchTargets,
                    class_agnostic: Tensor | None = None) -> Tensor:
        """Cost of each query for each object (B, R, M); columns of padded objects mean nothing. Arguments as above.

        It is computed, and lies in memory, as (B, M, R): there are many more queries than objects.
        """
        prob = self.probability_of_targets(logits, targets, class_agnostic).mT
        eps, other = 1e-8, 1 - prob
        positive = (prob + eps).log_().mul_(other**self.gamma)  # both without their sign
        negative = (other + eps).log_().mul_(prob**self.gamma)
        cost = negative.mul_(1 - self.alpha).sub_(positive, alpha=self.alpha).mul_(self.cost_class)
        gt_boxes = targets.boxes_cxcywh.to(boxes_cxcywh.dtype)
        cost.add_(torch.cdist(gt_boxes, boxes_cxcywh, p=1), alpha=self.cost_bbox)
        center, size = boxes_cxcywh.mT.contiguous().split(2, dim=1)
        boxes_xyxy = torch.cat((center - 0.5 * size, center + 0.5 * size), dim=1).mT
        giou = pairwise_giou(box_cxcywh_to_xyxy(gt_boxes), boxes_xyxy, self.iou_eps)
        return cost.sub_(giou, alpha=self.cost_giou).mT

    @staticmethod
    def probability_of_targets(logits: Rows, targets: BatchTargets, class_agnostic: Tensor | None) -> Tensor:
        """Score that each query gives to the class of each object: (B, R, M), in memory (B, M, R)."""
        labels = targets.labels[:, None].expand(-1, num_rows(logits), -1)
        if class_agnostic is not None:
            labels = labels.masked_fill(class_agnostic[:, None], 0)
        return at_least_fp32(gather_rows(logits, labels)).mT.contiguous().sigmoid_().mT

    @staticmethod
    def _describe_invalid(logits: Rows, boxes: Tensor, image: int) -> str:
        one = rows_of_images(logits, slice(image, image + 1))
        found = (('class logits', [one] if isinstance(one, Tensor) else one), ('boxes', [boxes[image]]))
        names = ' and '.join(name for name, parts in found if not all(part.isfinite().all() for part in parts))
        return (f'matching stopped: image {image} of the batch has non-finite {names or "costs"}. '
                f'Look for a learning rate that is too high, fp16 overflow (use bf16) or non-finite input values.')
