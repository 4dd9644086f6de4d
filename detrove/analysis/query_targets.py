"""Which queries of which branch learn an object, layer by layer: what taught a detection."""

from dataclasses import dataclass

import torch
from torch import Tensor

from detrove.assigners.hungarian import MatchSet
from detrove.detectors.one_detr import OneDETR
from detrove.layers.targets import BatchTargets
from detrove.ops.boxes import box_cxcywh_to_xyxy, pairwise_iou

from .decoder_trace import DecoderTrace


@dataclass(frozen=True)
class BranchTargets:
    """What a branch has learned after a layer in the first image.

    Attributes:
        branch: `main`, `dn`, `o2m`, `group`.
        layer: From 0.
        matched_gt: (N,), the object of each query of the branch, -1 for none, in the order of that layer.
        ious, scores: (N, M), of each query's box with each object, and for that object's class.
    """

    branch: str
    layer: int
    matched_gt: Tensor
    ious: Tensor
    scores: Tensor


@torch.no_grad()
def query_targets(model: OneDETR, trace: DecoderTrace, targets: BatchTargets) -> list[BranchTargets]:
    """Match every branch and layer of a training pass over one image, as the losses do (without costs of masks)."""
    found = []
    truth_xyxy = box_cxcywh_to_xyxy(targets.boxes_cxcywh[0, :targets.counts[0]])
    labels = targets.labels[0, :targets.counts[0]]
    start = 0
    for part in trace.outputs.branches:
        branch, rows = part.branch, slice(start, start + part.branch.num_queries)
        start = rows.stop
        for index, layer in enumerate(trace.layers):
            logits, boxes = layer.logits[None, rows], layer.boxes_cxcywh[None, rows]
            if part.matched_gt is not None:
                matched = part.matched_gt[0]
            else:
                sets = [MatchSet(branch.num_queries // branch.num_groups, branch.targets_per_object)]
                matched = model.matcher(logits, boxes, targets, sets * branch.num_groups)[0]
            ious = pairwise_iou(box_cxcywh_to_xyxy(boxes[0]), truth_xyxy)[0]
            found.append(BranchTargets(branch.name, index, matched, ious, logits[0].sigmoid()[:, labels]))
    return found
