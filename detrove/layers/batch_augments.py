"""Augmentations of whole batches, for `batch_augments` of mmdet's data preprocessor."""

import numpy as np
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn


@MODELS.register_module()
class BatchRandomChoiceResize(nn.Module):
    """Resizes every training batch to a size drawn from a list; a size listed twice is twice as likely.

    As in the official RT-DETR (v1 in the model, v2 in the collate function), every process draws for itself,
    and by default pixels are picked without interpolation. Where every process has the same numpy seed, which
    is mmengine's default, all draw the same sizes. Boxes, masks, semantic maps and the sizes in the meta
    information follow.

    Args:
        sizes: heights and widths to choose from; an int is a square.
        mode: of ``torch.nn.functional.interpolate``.
    """

    def __init__(self, *, sizes: tuple[int | tuple[int, int], ...], mode: str = 'nearest'):
        super().__init__()
        self.sizes_hw = [(size, size) if isinstance(size, int) else tuple(size) for size in sizes]
        if not self.sizes_hw or any(len(size) != 2 or min(size) < 1 for size in self.sizes_hw):
            raise ValueError(
                f'sizes must be a non-empty list of positive ints or (height, width) pairs, got {sizes}'
            )
        self.mode = mode

    def forward(
        self, inputs: Tensor, data_samples: list[DetDataSample]
    ) -> tuple[Tensor, list[DetDataSample]]:
        """inputs (B, C, H, W) -> (B, C, h, w); data_samples are changed in place."""
        size_hw = self.sizes_hw[np.random.randint(len(self.sizes_hw))]
        old_hw = tuple(inputs.shape[-2:])
        if size_hw == old_hw:
            return inputs, data_samples
        smooth = dict(align_corners=False) if self.mode in ('bilinear', 'bicubic') else {}
        inputs = F.interpolate(inputs, size_hw, mode=self.mode, **smooth)
        scale_hw = size_hw[0] / old_hw[0], size_hw[1] / old_hw[1]
        for data_sample in data_samples:
            _rescale(data_sample, scale_hw)
            data_sample.set_metainfo(dict(batch_input_shape=size_hw))
        return inputs, data_samples

    def extra_repr(self) -> str:
        return f'sizes_hw={self.sizes_hw}, mode={self.mode!r}'


def _scaled(shape_hw: tuple[int, int], scale_hw: tuple[float, float]) -> tuple[int, int]:
    return round(shape_hw[0] * scale_hw[0]), round(shape_hw[1] * scale_hw[1])


def _rescale(data_sample: DetDataSample, scale_hw: tuple[float, float]) -> None:
    """Scales annotations and sizes of one image, but not `batch_input_shape`."""
    for key in ('img_shape', 'pad_shape'):
        if key in data_sample.metainfo_keys():
            data_sample.set_metainfo({key: _scaled(data_sample.get(key), scale_hw)})
    if 'scale_factor' in data_sample.metainfo_keys():
        scale_w, scale_h = data_sample.scale_factor
        data_sample.set_metainfo(dict(scale_factor=(scale_w * scale_hw[1], scale_h * scale_hw[0])))
    for key in ('gt_instances', 'ignored_instances'):
        if key in data_sample:
            _rescale_instances(data_sample.get(key), scale_hw)
    if 'gt_sem_seg' in data_sample:
        sem_seg = data_sample.gt_sem_seg.sem_seg
        size_hw = _scaled(sem_seg.shape[-2:], scale_hw)
        resized = F.interpolate(sem_seg[None].float(), size_hw, mode='nearest')[0].to(sem_seg.dtype)
        data_sample.gt_sem_seg = PixelData(metainfo=data_sample.gt_sem_seg.metainfo, sem_seg=resized)


def _rescale_instances(instances: InstanceData, scale_hw: tuple[float, float]) -> None:
    if 'bboxes' in instances:
        boxes = instances.bboxes
        if isinstance(boxes, Tensor):
            instances.bboxes = boxes * boxes.new_tensor(scale_hw[::-1]).repeat(2)
        else:
            boxes.rescale_(scale_hw[::-1])
    if 'masks' in instances:
        masks = instances.masks
        instances.masks = masks.resize(_scaled((masks.height, masks.width), scale_hw))
