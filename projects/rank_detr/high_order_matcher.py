"""Matching by score times a high power of the IoU, in the last part of training."""

from mmdet.registry import TASK_UTILS
from mmengine.logging import MessageHub
from torch import Tensor

from detrove.assigners import HungarianMatcher
from detrove.layers.rows import Rows
from detrove.layers.targets import BatchTargets
from detrove.ops.boxes import box_cxcywh_to_xyxy, pairwise_iou


@TASK_UTILS.register_module()
class HighOrderMatcher(HungarianMatcher):
    """Hungarian matching whose cost becomes -score * IoU^power in the last part of training.

    Rank-DETR (Pu et al. 2023), rank-oriented loss and matching cost. How far training has come is read from mmengine's
    message hub, which the runner keeps up to date; outside of a training it stands at the beginning.

    Args:
        iou_power: exponent of the IoU.
        switch_at: share of the training's iterations after which the cost changes; 0 to use it from the beginning,
            None never to change.
        cost_class, cost_bbox, cost_giou, alpha, gamma, iou_eps: see `HungarianMatcher`; `iou_eps` holds for both costs.
    """

    def __init__(self, *, iou_power: float = 4.0, switch_at: float | None = 0.75, cost_class: float = 2.0,
                 cost_bbox: float = 5.0, cost_giou: float = 2.0, alpha: float = 0.25, gamma: float = 2.0,
                 iou_eps: float = 0.0):
        super().__init__(cost_class=cost_class, cost_bbox=cost_bbox, cost_giou=cost_giou, alpha=alpha, gamma=gamma,
                         iou_eps=iou_eps)
        if switch_at is not None and not 0 <= switch_at <= 1:
            raise ValueError(f'matcher.switch_at={switch_at} is a share of the training and must lie in [0, 1], or be '
                             f'None never to switch.')
        self.iou_power = iou_power
        self.switch_at = switch_at

    @property
    def is_high_order(self) -> bool:
        """Whether the high-order cost is in use at this point of training."""
        return self.switch_at is not None and training_progress() >= self.switch_at

    def cost_matrix(self, logits: Rows, boxes_cxcywh: Tensor, targets: BatchTargets,
                    class_agnostic: Tensor | None = None) -> Tensor:
        """Cost of each query for each object (B, R, M), see `HungarianMatcher.cost_matrix`."""
        if not self.is_high_order:
            return super().cost_matrix(logits, boxes_cxcywh, targets, class_agnostic)
        score = self.probability_of_targets(logits, targets, class_agnostic)
        iou, _ = pairwise_iou(box_cxcywh_to_xyxy(boxes_cxcywh), box_cxcywh_to_xyxy(targets.boxes_cxcywh), self.iou_eps)
        return -score * iou ** self.iou_power


def training_progress() -> float:
    """Share of the iterations that lie behind, in [0, 1]; 0 where no runner trains."""
    hub = MessageHub.get_current_instance()
    if hub.get_info('loop_stage') != 'train':
        return 0.0
    return hub.get_info('iter') / hub.get_info('max_iters')
