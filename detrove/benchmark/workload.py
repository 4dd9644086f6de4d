"""What every contestant of a measurement is given: generated images and what is on them."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

#: name of a precision -> what autocast computes in
PRECISIONS = dict(fp32=None, bf16=torch.bfloat16, fp16=torch.float16)


@dataclass(frozen=True)
class Workload:
    """`batch` images of size_hw with `objects` objects each, on a device, in a precision (see `PRECISIONS`)."""

    size_hw: tuple[int, int] = (640, 640)
    batch: int = 1
    objects: int = 8
    device: str = 'cpu'
    precision: str = 'fp32'

    def __post_init__(self):
        if self.precision not in PRECISIONS:
            raise ValueError(f'precision {self.precision!r} must be one of {list(PRECISIONS)}')

    @property
    def device_type(self) -> str:
        return torch.device(self.device).type

    def autocast(self) -> AbstractContextManager:
        """Where a model's passes run; parameters stay float32."""
        dtype = PRECISIONS[self.precision]
        return torch.autocast(self.device_type, dtype or torch.bfloat16, enabled=dtype is not None)

    def images(self) -> Tensor:
        """(B, 3, H, W) in [0, 1], the same at every call."""
        generator = torch.Generator().manual_seed(0)
        return torch.rand(self.batch, 3, *self.size_hw, generator=generator).to(self.device)

    def boxes_and_labels(self, num_classes: int) -> list[tuple[Tensor, Tensor]]:
        """Of each image: boxes xyxy in pixels (objects, 4), none without area, and labels below num_classes."""
        generator = torch.Generator().manual_seed(1)
        height, width = self.size_hw
        found = []
        for _ in range(self.batch):
            corners = torch.rand(self.objects, 2, 2, generator=generator).sort(dim=1).values
            boxes_xyxy = corners.flatten(1) * torch.tensor([width, height] * 2) * 0.98
            boxes_xyxy[:, 2:] += 0.01 * torch.tensor([width, height])
            labels = torch.randint(0, num_classes, (self.objects,), generator=generator)
            found.append((boxes_xyxy.to(self.device), labels.to(self.device)))
        return found

    def detection_samples(self, num_classes: int, num_map_classes: int = 0) -> list[DetDataSample]:
        """mmdet's samples with boxes, labels and masks that fill the boxes; with num_map_classes also a class map."""
        samples = []
        for boxes_xyxy, labels in self.boxes_and_labels(num_classes):
            sample = DetDataSample(metainfo=dict(self._metainfo(), scale_factor=(1.0, 1.0)))
            masks = np.zeros((self.objects, *self.size_hw), np.uint8)
            for mask, (x0, y0, x1, y1) in zip(masks, boxes_xyxy.int().tolist(), strict=True):
                mask[y0:y1 + 1, x0:x1 + 1] = 1
            sample.gt_instances = InstanceData(bboxes=boxes_xyxy, labels=labels,
                                               masks=BitmapMasks(masks, *self.size_hw))
            if num_map_classes:
                sample.gt_sem_seg = PixelData(sem_seg=self._class_map(num_map_classes))
            samples.append(sample)
        return samples

    def segmentation_samples(self, num_classes: int) -> list:
        """mmseg's samples: maps of classes in squares of 32 pixels."""
        from mmseg.structures import SegDataSample
        samples = [SegDataSample(metainfo=self._metainfo()) for _ in range(self.batch)]
        for sample in samples:
            sample.gt_sem_seg = PixelData(data=self._class_map(num_classes))
        return samples

    def classification_samples(self, num_classes: int) -> list:
        """mmpretrain's samples, with one label each."""
        from mmpretrain.structures import DataSample
        labels = torch.randint(0, num_classes, (self.batch,), generator=torch.Generator().manual_seed(1))
        return [DataSample(metainfo=self._metainfo()).set_gt_label(label).to(self.device) for label in labels]

    def _metainfo(self) -> dict:
        return dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), self.size_hw)

    def _class_map(self, num_classes: int) -> Tensor:
        height, width = self.size_hw
        squares = torch.randint(0, num_classes, (1, height // 32 + 1, width // 32 + 1),
                                generator=torch.Generator().manual_seed(1))
        whole = squares.repeat_interleave(32, 1).repeat_interleave(32, 2)
        return whole[:, :height, :width].to(self.device)
