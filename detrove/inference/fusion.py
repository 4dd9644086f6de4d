"""Weighted boxes fusion: the detections of several models, or of several views of an image, as one.

Solovyev, Wang and Gabruseva, "Weighted boxes fusion: Ensembling boxes from different object detection models", 2021
(arXiv:1910.13302). Where non-maximum suppression keeps one of the boxes of an object, this averages them.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product, tee

import torch
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from detrove.ops.boxes import pairwise_iou

from .predict import Image, drop_low_scores
from .views import View

IOU_THR = 0.55  # the paper's best, section 4


def fuse_boxes(instances: Sequence[InstanceData], *, weights: Sequence[float] | None = None,
               iou_thr: float = IOU_THR) -> InstanceData:
    """One set of detections out of several of the same image, the best scored first.

    Boxes go into clusters, in the order of their weighted scores: a box joins the cluster of its class whose fused box
    it overlaps most, if their IoU is above the threshold, and opens one otherwise. A fused box is the mean of its boxes
    by weighted score; its score is their mean, lowered where fewer boxes than sets stand behind it (section
    3.1).

    Args:
        instances: For each model or view `bboxes` (N, 4) xyxy, `scores` (N,) and `labels` (N,).
        weights: Trust in each of them, above 0; equal by default.
        iou_thr: From 0 to 1.

    Raises:
        ValueError: If there are no sets, or not one positive weight for each.
    """
    weights = [1.0] * len(instances) if weights is None else [float(weight) for weight in weights]
    if not instances or len(weights) != len(instances) or min(weights) <= 0:
        raise ValueError(f'{len(instances)} sets of boxes with weights {weights}: expected one weight above 0 for each')
    boxes = torch.cat([one.bboxes for one in instances]).double()
    scores = torch.cat([one.scores.double() * weight for one, weight in zip(instances, weights, strict=True)])
    labels = torch.cat([one.labels for one in instances])

    fused = [(torch.zeros(0, 4).double(), torch.zeros(0).double(), labels[:0])]
    for label in labels.unique():
        index = torch.nonzero(labels == label)[:, 0]
        index = index[scores[index].argsort(descending=True, stable=True)]
        fused_boxes, fused_scores, sizes = _clusters(boxes[index], scores[index], iou_thr)
        fused_scores = fused_scores * sizes.clamp(max=len(instances)) / sum(weights)
        fused.append((fused_boxes, fused_scores, label.expand(len(fused_scores))))
    boxes, scores, labels = (torch.cat(parts) for parts in zip(*fused, strict=True))
    order = scores.argsort(descending=True, stable=True)
    dtype = instances[0].bboxes.dtype
    return InstanceData(bboxes=boxes[order].to(dtype), scores=scores[order].to(dtype), labels=labels[order])


def predict_fused(models: Sequence[nn.Module], images: Iterable[Image], *, views: Sequence[View] = (View(),),
                  score_thr: float = 0.0, **settings) -> Iterator[BaseDataElement]:
    """What several models, or several views of each image, find together; of one model and view just its own.

    Boxes are fused, see `fuse_boxes`. Semantic segmentors' class probabilities are averaged, as mmseg's `SegTTAModel`
    does.

    Args:
        models: Detectors or segmentors of the same classes, each with its config at `model.cfg`.
        views: How each model sees each image, see `make_views`.
        images, score_thr, settings: As for `predict_images`; the threshold is that of the fused scores.

    Raises:
        ValueError: If the models predict instance masks, or are of different classes.
    """
    if len({tuple(model.dataset_meta.get('classes', ())) for model in models}) > 1:
        raise ValueError('the models to fuse are of different classes: ' + '; '.join(
            ', '.join(model.dataset_meta.get('classes', ())) or 'unknown ones' for model in models))
    sights = list(product(models, views))
    # Boxes with low scores lower the mean of the cluster that they join; the authors' code can skip them too.
    lowest = score_thr / len(sights)
    streams = [view.predict(model, copy, score_thr=lowest, **settings)
               for (model, view), copy in zip(sights, tee(images, len(sights)), strict=True)]
    if len(streams) == 1:
        yield from streams[0]
        return
    for samples in zip(*streams, strict=True):
        yield drop_low_scores(_together(samples, models), score_thr)


def _together(samples: Sequence[BaseDataElement], models: Sequence[nn.Module]) -> BaseDataElement:
    first = samples[0]
    if 'seg_logits' in first:
        return _average_maps(samples, models[0])
    if 'pred_instances' not in first or 'masks' in first.pred_instances or 'pred_panoptic_seg' in first:
        raise ValueError('boxes can be fused and label maps averaged, and '
                         f'{" or ".join(type(model).__name__ for model in models)} predicts masks of objects')
    first.pred_instances = fuse_boxes([sample.pred_instances for sample in samples])
    return first


def _average_maps(samples: Sequence[BaseDataElement], model: nn.Module) -> BaseDataElement:
    several = len(samples[0].seg_logits.data) > 1
    shares = [sample.seg_logits.data.softmax(0) if several else sample.seg_logits.data.sigmoid() for sample in samples]
    mean = torch.stack(shares).mean(0)
    labels = mean.argmax(0, keepdim=True) if several else (mean > model.decode_head.threshold).long()
    samples[0].pred_sem_seg.data = labels
    samples[0].seg_logits.data = mean
    return samples[0]


def _clusters(boxes: Tensor, scores: Tensor, iou_thr: float) -> tuple[Tensor, Tensor, Tensor]:
    """Fused boxes (C, 4), mean scores (C,) and sizes (C,) of the clusters of boxes that are sorted by score."""
    fused = torch.zeros_like(boxes)
    weighted_sums, score_sums = torch.zeros_like(boxes), torch.zeros_like(scores)
    sizes = torch.zeros_like(scores)
    number = 0
    for box, score in zip(boxes, scores, strict=True):
        place = number
        if number:
            # a box that is not finite hides no other one
            best, index = pairwise_iou(box[None], fused[:number])[0][0].nan_to_num().max(0)
            place = int(index) if best > iou_thr else number
        number = max(number, place + 1)
        weighted_sums[place] += score * box
        score_sums[place] += score
        sizes[place] += 1
        # a score of 0 is the last of its cluster, or alone in it
        fused[place] = weighted_sums[place] / score_sums[place] if score_sums[place] > 0 else box
    return fused[:number], score_sums[:number] / sizes[:number], sizes[:number]
