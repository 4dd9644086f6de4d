"""Test-time augmentation: an image seen mirrored and in other sizes, and the answers brought back."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from mmdet.structures.bbox import bbox_flip
from mmengine.structures import BaseDataElement
from torch import nn

from .predict import Image, ImagePipeline, predict_images


@dataclass(frozen=True)
class View:
    """One way to see an image.

    Attributes:
        scale: Factor of the size to which the test pipeline resizes images.
        flip: Whether left and right are swapped.
    """

    scale: float = 1.0
    flip: bool = False

    def predict(self, model: nn.Module, images: Iterable[Image], **settings) -> Iterator[BaseDataElement]:
        """As `predict_images`, in pixels of the image as it was given."""
        pipeline = ImagePipeline(model.cfg, scale=self.scale)
        if self.flip:
            images = (cv2.flip(image if isinstance(image, np.ndarray) else pipeline.read(image), 1)
                      for image in images)
        for sample in predict_images(model, images, pipeline=pipeline, **settings):
            yield _mirrored(sample) if self.flip else sample


def make_views(scales: Sequence[float] = (1.0,), *, flip: bool = True) -> list[View]:
    """Each scale as it is and, with `flip`, mirrored.

    Raises:
        ValueError: If there are no scales, or one is not above 0.
    """
    if not scales or min(scales) <= 0:
        raise ValueError(f'scales {list(scales)}: expected numbers above 0')
    return [View(scale, mirrored) for scale in scales for mirrored in ((False, True) if flip else (False,))]


def _mirrored(sample: BaseDataElement) -> BaseDataElement:
    if 'pred_instances' in sample:
        sample.pred_instances.bboxes = bbox_flip(sample.pred_instances.bboxes, sample.ori_shape)
        if 'masks' in sample.pred_instances:
            sample.pred_instances.masks = sample.pred_instances.masks.flip(-1)
    if 'seg_logits' in sample:
        sample.seg_logits.data = sample.seg_logits.data.flip(-1)
    return sample
