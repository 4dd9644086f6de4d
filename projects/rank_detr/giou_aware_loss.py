"""Focal loss towards the overlap of the matched box."""

from mmdet.registry import MODELS
from torch import Tensor

from detrove.losses import QueryFocalLoss


@MODELS.register_module()
class QueryGIoUAwareFocalLoss(QueryFocalLoss):
    """Focal loss whose target at the matched class is (GIoU + 1) / 2 instead of one.

    Rank-DETR (Pu et al. 2023), section 3.3. Needs `criterion.quality='giou'`.

    Args:
        alpha, gamma: see `QueryFocalLoss`.
    """

    def target(self, quality: Tensor) -> Tensor:
        return (quality + 1) / 2
