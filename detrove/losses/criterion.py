"""The set criterion: class, L1 and GIoU loss of every query, whatever layer or branch it belongs to."""

from mmdet.registry import MODELS
from torch import Tensor, nn

from detrove.layers.precision import at_least_fp32
from detrove.layers.rows import Rows
from detrove.layers.targets import BatchTargets
from detrove.ops.boxes import box_cxcywh_to_xyxy, paired_iou_and_giou


@MODELS.register_module()
class DETRCriterion(nn.Module):
    """Class loss of each query and, if it is matched, L1 and GIoU.

    DETR (Carion et al. 2020), section 3.1. Everything is computed in the same few operations, whatever is matched. On
    devices that would have to be asked how much that is, shapes do not depend on it. An image without objects
    contributes to the class loss alone.

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

    def forward(self, logits: Rows, boxes_cxcywh: Tensor, matched_gt: Tensor, targets: BatchTargets,
                class_agnostic: Tensor | None = None) -> dict[str, Tensor]:
        """Weighted losses of R queries.

        Args:
            logits: (B, R, C), or their parts.
            boxes_cxcywh: (B, R, 4), normalised.
            matched_gt: (B, R), index of the matched object or -1.
            targets: the objects.
            class_agnostic: (R,) bool, queries for which every object is class 0; None for no such queries.

        Returns:
            loss_cls, loss_bbox, loss_giou, each (B, R), to be summed and divided by the number of objects.
        """
        logits = at_least_fp32(logits) if isinstance(logits, Tensor) else [at_least_fp32(part) for part in logits]
        boxes_cxcywh = at_least_fp32(boxes_cxcywh)
        is_matched, index = matched_gt >= 0, matched_gt.clamp(min=0)
        gt_labels = targets.labels.gather(1, index)
        if class_agnostic is not None:
            gt_labels = gt_labels.masked_fill(class_agnostic, 0)
        losses_of = self._losses_of_matched if boxes_cxcywh.device.type == 'cpu' else self._losses_of_all
        l1, giou, quality = losses_of(boxes_cxcywh, is_matched, index, targets)
        matched = is_matched.to(boxes_cxcywh.dtype)
        return dict(
            loss_cls=self.loss_class(logits, gt_labels, matched, quality) * self.weight_class,
            loss_bbox=l1 * self.weight_bbox,
            loss_giou=giou * self.weight_giou)

    def _losses_of_all(self, boxes_cxcywh: Tensor, is_matched: Tensor, index: Tensor,
                       targets: BatchTargets) -> tuple[Tensor, Tensor, Tensor]:
        """L1, 1 - GIoU and quality (B, R) of boxes (B, R, 4), computed for all queries; 0 for unmatched ones."""
        gt_boxes_cxcywh = targets.boxes_cxcywh.gather(1, index[..., None].expand(-1, -1, 4))
        return tuple(x * is_matched for x in self._losses(boxes_cxcywh, gt_boxes_cxcywh))

    def _losses_of_matched(self, boxes_cxcywh: Tensor, is_matched: Tensor, index: Tensor,
                           targets: BatchTargets) -> tuple[Tensor, Tensor, Tensor]:
        """The same, computed for matched queries alone: how many there are costs nothing to ask on a CPU."""
        image, row = is_matched.nonzero(as_tuple=True)
        losses = self._losses(boxes_cxcywh[image, row], targets.boxes_cxcywh[image, index[image, row]])
        return tuple(x.new_zeros(is_matched.shape).index_put((image, row), x) for x in losses)

    def _losses(self, boxes_cxcywh: Tensor, gt_boxes_cxcywh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """L1, 1 - GIoU and quality (...) of boxes (..., 4) with those of their objects."""
        boxes_xyxy, gt_boxes_xyxy = box_cxcywh_to_xyxy(boxes_cxcywh), box_cxcywh_to_xyxy(gt_boxes_cxcywh)
        iou, giou = paired_iou_and_giou(boxes_xyxy, gt_boxes_xyxy, self.iou_eps)
        quality = (iou if self.quality == 'iou' else giou).detach()
        return (boxes_cxcywh - gt_boxes_cxcywh).abs().sum(-1), 1 - giou, quality
