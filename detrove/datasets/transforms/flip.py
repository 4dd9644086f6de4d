"""Flipping with less ado."""

import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.datasets.transforms import RandomFlip
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class HorizontalFlip(RandomFlip):
    """mmdet's ``RandomFlip(direction='horizontal')``: the same images flipped by the same seed.

    mmdet draws from a list of directions by ``numpy.random.choice``, which takes longer than the flip.

    Args:
        prob: of flipping.
    """

    def __init__(self, *, prob: float = 0.5):
        super().__init__(prob=float(prob), direction='horizontal')

    @cache_randomness
    def _choose_direction(self) -> str | None:
        return self.direction if np.random.random_sample() < self.prob else None
