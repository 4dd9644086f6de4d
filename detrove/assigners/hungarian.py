"""Hungarian matching of all layers and images at once."""

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from detrove.layers.precision import at_least_fp32
from detrove.layers.targets import BatchTargets
from detrove.ops.boxes import box_cxcywh_to_xyxy, pairwise_giou


@TASK_UTILS.register_module()
class HungarianMatcher:
    """One query for each object, so that the summed cost of class, L1 and GIoU is least.

    DETR (Carion et al. 2020), section 3.1, with the focal class cost of Deformable DETR. The costs of all layers and
    images are one tensor, copied to the host once.

    Args:
        cost_class, cost_bbox, cost_giou: weights of the three costs.
        alpha, gamma: of the focal class cost.
    """

    def __init__(self, *, cost_class: float = 2.0, cost_bbox: float = 5.0, cost_giou: float = 2.0,
                 alpha: float = 0.25, gamma: float = 2.0):
        self.cost_class = cost_class
        self.cost_bbox = cost_bbox
        self.cost_giou = cost_giou
        self.alpha = alpha
        self.gamma = gamma

    @torch.no_grad()
    def __call__(self, logits: Tensor, boxes_cxcywh: Tensor, targets: BatchTargets) -> Tensor:
        """Match every layer and image by itself.

        Args:
            logits: (L, B, Q, num_classes).
            boxes_cxcywh: (L, B, Q, 4), normalised.
            targets: M objects at most in each of B images.

        Returns:
            matched_gt (L, B, Q) int64: the index of the query's object in its image, -1 without one.

        Raises:
            FloatingPointError: if a prediction is NaN or infinite.
        """
        costs = self.cost_matrix(at_least_fp32(logits), at_least_fp32(boxes_cxcywh), targets).cpu().numpy()
        matched = np.full(costs.shape[:3], -1, dtype=np.int64)
        for image, count in enumerate(targets.counts):
            if count and not np.isfinite(costs[:, image, :, :count]).all():
                raise FloatingPointError(self._describe_invalid(logits, boxes_cxcywh, image))
            for layer in range(len(costs) if count else 0):
                query, gt = linear_sum_assignment(costs[layer, image, :, :count])
                matched[layer, image, query] = gt
        return torch.from_numpy(matched).to(logits.device, non_blocking=True)

    def cost_matrix(self, logits: Tensor, boxes_cxcywh: Tensor, targets: BatchTargets) -> Tensor:
        """Cost of each query for each object (L, B, Q, M); columns of padded objects mean nothing."""
        layers, _, num_queries, _ = logits.shape
        labels = targets.labels[None, :, None].expand(layers, -1, num_queries, -1)
        prob = logits.gather(-1, labels).sigmoid()
        eps = 1e-8
        positive = self.alpha * (1 - prob) ** self.gamma * -(prob + eps).log()
        negative = (1 - self.alpha) * prob ** self.gamma * -(1 - prob + eps).log()
        gt_boxes = targets.boxes_cxcywh[None].expand(layers, -1, -1, -1)
        l1 = torch.cdist(boxes_cxcywh.flatten(0, 1), gt_boxes.flatten(0, 1), p=1).unflatten(0, logits.shape[:2])
        giou = pairwise_giou(box_cxcywh_to_xyxy(boxes_cxcywh), box_cxcywh_to_xyxy(gt_boxes))
        return self.cost_bbox * l1 + self.cost_class * (positive - negative) - self.cost_giou * giou

    @staticmethod
    def _describe_invalid(logits: Tensor, boxes: Tensor, image: int) -> str:
        parts = [name for name, x in (('class logits', logits), ('boxes', boxes)) if not x[:, image].isfinite().all()]
        return (f'matching stopped: image {image} of the batch has non-finite {" and ".join(parts) or "costs"}. '
                f'Look for a learning rate that is too high, fp16 overflow (use bf16) or non-finite input values.')
