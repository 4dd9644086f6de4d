"""A level of half the stride, for detectors of small objects on backbones that begin at stride 16."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class FinerLevels(BaseModule):
    """Neck that puts an upsampled copy of the first level before it; a feature pyramid follows.

    Args:
        in_channels: channels of the first level, and of the new one.
    """

    def __init__(self, *, in_channels: int, init_cfg: dict | None = None):
        super().__init__(init_cfg=init_cfg)
        self.upsample = nn.ConvTranspose2d(in_channels, in_channels, kernel_size=2, stride=2)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """maps (B, C, h, w), first the finest -> one of (B, C, 2 h, 2 w), then the same maps."""
        return self.upsample(maps[0]), *maps
