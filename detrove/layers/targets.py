"""Ground truth of a batch as padded tensors, so that nothing downstream branches on the number of objects."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor

from detrove.ops.boxes import box_xyxy_to_cxcywh


@dataclass(frozen=True)
class BatchTargets:
    """Objects of B images, padded to M >= 1 each.

    Attributes:
        labels: (B, M) int64; 0 where padded.
        boxes_cxcywh: (B, M, 4), normalised; 0 where padded.
        valid: (B, M) bool, False where padded.
        counts: objects of each image, as Python numbers (known without asking the device).
    """

    labels: Tensor
    boxes_cxcywh: Tensor
    valid: Tensor
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.counts)


def collate_targets(data_samples: Sequence[DetDataSample], sizes_hw: Sequence[tuple[int, int]], num_classes: int,
                    device: torch.device) -> BatchTargets:
    """Pad the `gt_instances` of mmdet data samples (boxes xyxy in pixels of the input) into `BatchTargets`.

    Args:
        data_samples: one for each image.
        sizes_hw: the size that each image's boxes are normalised by.
        num_classes: number of classes.
        device: where the tensors go.

    Raises:
        ValueError: if labels and boxes of an image differ in number. Labels outside [0, num_classes) are refused where
            that costs no copy from the device, i.e. for labels on the CPU.
    """
    counts = []
    for sample in data_samples:
        gt = sample.gt_instances
        counts.append(len(gt.labels))
        if gt.labels.numel() and not gt.labels.is_cuda and int(gt.labels.max()) >= num_classes:
            raise ValueError(f'{sample.metainfo.get("img_path", "an image")} has an object of class index '
                             f'{int(gt.labels.max())}, but the head has num_classes={num_classes} (indices from 0). '
                             f'Set model.bbox_head.num_classes to the number of classes of the data set.')
    padded = max(1, *counts)
    scale = torch.tensor([(width, height, width, height) for height, width in sizes_hw], dtype=torch.float32)
    scale = scale[:, None].to(device, non_blocking=True)
    labels = torch.zeros(len(counts), padded, dtype=torch.int64, device=device)
    boxes_xyxy = torch.zeros(len(counts), padded, 4, device=device)
    for i, sample in enumerate(data_samples):
        if counts[i]:
            labels[i, :counts[i]] = sample.gt_instances.labels.to(device)
            boxes_xyxy[i, :counts[i]] = get_box_tensor(sample.gt_instances.bboxes).to(device, torch.float32)
    valid = torch.arange(padded)[None] < torch.tensor(counts)[:, None]
    return BatchTargets(labels, box_xyxy_to_cxcywh(boxes_xyxy / scale), valid.to(device, non_blocking=True),
                        tuple(counts))
