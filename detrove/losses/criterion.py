"""The set criterion: class, L1 and GIoU loss of one query branch, all layers at once."""

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from detrove.layers.precision import at_least_fp32
from detrove.layers.targets import BatchTargets
from detrove.ops.boxes import box_cxcywh_to_xyxy, paired_giou, paired_iou


@MODELS.register_module()
class DETRCriterion(nn.Module):
    """Sums over queries of the class loss and, for matched ones, L1 and GIoU, divided by the number of objects.

    DETR (Carion et al. 2020), section 3.1. Every layer is computed in the same dense operations, whatever is matched:
    shapes do not depend on the number of objects, and an image without objects contributes to the class loss alone.

    Args:
        loss_class: config of the class loss, `(logits, positive, quality) -> loss per logit`.
        weight_class, weight_bbox, weight_giou: weights of the three losses.
    """

    def __init__(self, *, loss_class: dict, weight_class: float = 1.0, weight_bbox: float = 5.0,
                 weight_giou: float = 2.0):
        super().__init__()
        self.loss_class = MODELS.build(loss_class)
        self.weight_class = weight_class
        self.weight_bbox = weight_bbox
        self.weight_giou = weight_giou

    def forward(self, logits: Tensor, boxes_cxcywh: Tensor, matched_gt: Tensor, targets: BatchTargets,
                normalizer: Tensor) -> dict[str, Tensor]:
        """Losses of L layers.

        Args:
            logits: (L, B, Q, C).
            boxes_cxcywh: (L, B, Q, 4), normalised.
            matched_gt: (L or 1, B, Q), index of the matched object or -1.
            targets: the objects.
            normalizer: scalar, number of objects that the sums are divided by.

        Returns:
            loss_cls, loss_bbox, loss_giou, each (L,).
        """
        logits, boxes_cxcywh = at_least_fp32(logits), at_least_fp32(boxes_cxcywh)
        matched_gt = matched_gt.expand(logits.shape[:-1])
        matched = (matched_gt >= 0).to(logits.dtype)
        gt_labels, gt_boxes_cxcywh = self._gather_targets(matched_gt.clamp(min=0), targets)
        boxes_xyxy, gt_boxes_xyxy = box_cxcywh_to_xyxy(boxes_cxcywh), box_cxcywh_to_xyxy(gt_boxes_cxcywh)

        quality, _ = paired_iou(boxes_xyxy.detach(), gt_boxes_xyxy)
        positive = torch.zeros_like(logits).scatter_(-1, gt_labels[..., None], matched[..., None])
        loss_cls = self.loss_class(logits, positive, quality).sum((1, 2, 3))
        l1 = (boxes_cxcywh - gt_boxes_cxcywh).abs().sum(-1)
        giou = paired_giou(boxes_xyxy, gt_boxes_xyxy)
        return dict(
            loss_cls=loss_cls * self.weight_class / normalizer,
            loss_bbox=(l1 * matched).sum((1, 2)) * self.weight_bbox / normalizer,
            loss_giou=((1 - giou) * matched).sum((1, 2)) * self.weight_giou / normalizer)

    @staticmethod
    def _gather_targets(index: Tensor, targets: BatchTargets) -> tuple[Tensor, Tensor]:
        """index (L, B, Q) -> labels (L, B, Q) and boxes_cxcywh (L, B, Q, 4) of those objects."""
        layers = len(index)
        labels = targets.labels.expand(layers, -1, -1).gather(2, index)
        boxes = targets.boxes_cxcywh.expand(layers, -1, -1, -1)
        return labels, boxes.gather(2, index[..., None].expand(-1, -1, -1, 4))
