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
        masks: (T, H, W) bool, masks of all objects in pixels of the padded input, image after image; T = max(1, total),
            one empty mask in a batch without objects. None where nothing learns masks.
    """

    labels: Tensor
    boxes_cxcywh: Tensor
    valid: Tensor
    counts: tuple[int, ...]
    masks: Tensor | None = None

    @property
    def total(self) -> int:
        return sum(self.counts)

    @property
    def objects_per_image(self) -> tuple[int, ...]:
        """`counts`; in a batch without objects one, which is not valid, in the first image."""
        return self.counts if self.total else (1, *self.counts[1:])

    def objects(self) -> tuple[Tensor, Tensor]:
        """Image and place in it (T,) of the objects in the order of `masks`, which index the first two dimensions."""
        pairs = [(image, slot) for image, count in enumerate(self.objects_per_image) for slot in range(count)]
        image, slot = torch.tensor(pairs).to(self.labels.device, non_blocking=True).unbind(1)
        return image, slot


def collate_targets(data_samples: Sequence[DetDataSample], sizes_hw: Sequence[tuple[int, int]], num_classes: int,
                    device: torch.device, masks_hw: tuple[int, int] | None = None) -> BatchTargets:
    """Pad the `gt_instances` of mmdet data samples (boxes xyxy in pixels of the input) into `BatchTargets`.

    Args:
        data_samples: one for each image.
        sizes_hw: the size that each image's boxes are normalised by.
        num_classes: number of classes.
        device: where the tensors go.
        masks_hw: size of the padded input, to which masks are padded too; None to leave masks out.

    Raises:
        ValueError: if labels and boxes of an image differ in number, or masks are wanted and missing or too large.
            Labels outside [0, num_classes) are refused where that costs no copy from the device, i.e. for labels on the
            CPU.
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
    masks = None if masks_hw is None else _collate_masks(data_samples, counts, masks_hw).to(device, non_blocking=True)
    return BatchTargets(labels, box_xyxy_to_cxcywh(boxes_xyxy / scale), valid.to(device, non_blocking=True),
                        tuple(counts), masks)


def _collate_masks(data_samples: Sequence[DetDataSample], counts: Sequence[int], input_hw: tuple[int, int]) -> Tensor:
    """Bitmap or polygon masks of all images -> (T, H, W) bool, zero where padded."""
    masks = torch.zeros(max(1, sum(counts)), *input_hw, dtype=torch.bool)
    end = 0
    for sample, count in zip(data_samples, counts, strict=True):
        start, end = end, end + count
        if not count:
            continue
        name = sample.metainfo.get('img_path', 'an image')
        if 'masks' not in sample.gt_instances:
            raise ValueError(f'the model learns masks, but {name} comes without. Load them in the training pipeline: '
                             f"dict(type='LoadAnnotations', with_bbox=True, with_mask=True), or set model.mask_branch="
                             f'None.')
        found = sample.gt_instances.masks
        if len(found) != count or found.height > input_hw[0] or found.width > input_hw[1]:
            raise ValueError(f'{name} has {count} objects in an input of {input_hw} (height, width), but {len(found)} '
                             f'masks of {(found.height, found.width)}. Transforms must change masks with their boxes.')
        masks[start:end, :found.height, :found.width] = torch.from_numpy(found.to_ndarray()).bool()
    return masks
