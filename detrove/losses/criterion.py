"""The set criterion: class, L1 and GIoU loss of every query, whatever layer or branch it belongs to."""

from mmdet.registry import MODELS
from torch import Tensor, nn

from detrove.layers.precision import at_least_fp32
from detrove.layers.targets import BatchTargets
from detrove.ops.boxes import box_cxcywh_to_xyxy, paired_giou, paired_iou


@MODELS.register_module()
class DETRCriterion(nn.Module):
    """Class loss of each query and, if it is matched, L1 and GIoU.

    DETR (Carion et al. 2020), section 3.1. All queries are computed in the same dense operations, whatever is matched:
    shapes do not depend on the number of objects, and an image without objects contributes to the class loss alone.

    Args:
        loss_class: config of the class loss, see `QueryFocalLoss.forward`.
        weight_class, weight_bbox, weight_giou: weights of the three losses.
        quality: what the class loss is told of a matched box: its 'iou' or its 'giou' with the object.
        iou_eps: added to the denominators of IoU and GIoU.
    """

    def __init__(self, *, loss_class: dict, weight_class: float = 1.0, weight_bbox: float = 5.0,
                 weight_giou: float = 2.0, quality: str = 'iou', iou_eps: float = 0.0):
        super().__init__()
        if quality not in ('iou', 'giou'):
            raise ValueError(f"criterion.quality={quality!r} must be 'iou' or 'giou'.")
        self.loss_class = MODELS.build(loss_class)
        self.weight_class = weight_class
        self.weight_bbox = weight_bbox
        self.weight_giou = weight_giou
        self.quality = quality
        self.iou_eps = iou_eps

    def forward(self, logits: Tensor, boxes_cxcywh: Tensor, matched_gt: Tensor, targets: BatchTargets,
                class_agnostic: Tensor | None = None) -> dict[str, Tensor]:
        """Weighted losses of R queries.

        Args:
            logits: (B, R, C).
            boxes_cxcywh: (B, R, 4), normalised.
            matched_gt: (B, R), index of the matched object or -1.
            targets: the objects.
            class_agnostic: (R,) bool, queries for which every object is class 0; None for no such queries.

        Returns:
            loss_cls, loss_bbox, loss_giou, each (B, R), to be summed and divided by the number of objects.
        """
        logits, boxes_cxcywh = at_least_fp32(logits), at_least_fp32(boxes_cxcywh)
        matched = (matched_gt >= 0).to(logits.dtype)
        index = matched_gt.clamp(min=0)
        gt_boxes_cxcywh = targets.boxes_cxcywh.gather(1, index[..., None].expand(-1, -1, 4))
        gt_labels = targets.labels.gather(1, index)
        if class_agnostic is not None:
            gt_labels = gt_labels.masked_fill(class_agnostic, 0)
        boxes_xyxy, gt_boxes_xyxy = box_cxcywh_to_xyxy(boxes_cxcywh), box_cxcywh_to_xyxy(gt_boxes_cxcywh)

        giou = paired_giou(boxes_xyxy, gt_boxes_xyxy, self.iou_eps)
        quality = giou.detach()
        if self.quality == 'iou':
            quality, _ = paired_iou(boxes_xyxy.detach(), gt_boxes_xyxy, self.iou_eps)
        l1 = (boxes_cxcywh - gt_boxes_cxcywh).abs().sum(-1)
        return dict(
            loss_cls=self.loss_class(logits, gt_labels, matched, quality) * self.weight_class,
            loss_bbox=l1 * matched * self.weight_bbox,
            loss_giou=(1 - giou) * matched * self.weight_giou)
