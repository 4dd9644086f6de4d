"""Matching and losses of all sets of predictions of a step, in one pass."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from detrove.assigners.hungarian import HungarianMatcher, MatchSet
from detrove.layers.query_branches import QueryBranch
from detrove.layers.rows import as_rows
from detrove.layers.targets import BatchTargets

from .mask import PointMaskCriterion, QueryMasks


class PredictionSet(NamedTuple):
    """Predictions of one query branch, by every decoder layer or by the encoder.

    branch: how they are matched and what their losses are called.
    logits (L, B, Q, num_classes), boxes_cxcywh (L, B, Q, 4).
    matched_gt (B, Q): the objects, where they are known; None to match.
    copies: how often each object is counted in the losses that are summed under this set's normaliser.
    from_encoder: L = 1, predictions of the encoder; class_agnostic: every object is class 0.
    masks: of the same L layers and Q queries; None for queries whose masks are not learned.
    """

    branch: QueryBranch
    logits: Tensor
    boxes_cxcywh: Tensor
    matched_gt: Tensor | None
    copies: int
    from_encoder: bool = False
    class_agnostic: bool = False
    masks: QueryMasks | None = None

    @property
    def loss_names(self) -> list[str]:
        """Prefix of the losses of each layer: '' for the last, 'd0.', 'd1.', ..., 'enc.', behind the branch's own."""
        branch = '' if self.branch.name == 'main' else self.branch.name + '.'
        layers = ['enc.'] if self.from_encoder else [*(f'd{i}.' for i in range(len(self.logits) - 1)), '']
        return [branch + layer for layer in layers]

    def divisor(self, num_objects: Tensor) -> Tensor:
        """What the sums over queries are divided by, at least one, also in a batch without objects."""
        if self.matched_gt is not None:  # the official codes bound it for denoising before they count its groups
            num_objects = num_objects.clamp(min=1)
        return (num_objects * self.copies).clamp(min=1)

    def match_sets(self) -> list[MatchSet]:
        layers, _, num_queries, _ = self.logits.shape
        groups = self.branch.num_groups
        return [MatchSet(num_queries // groups, self.branch.targets_per_object)] * layers * groups


def set_losses(sets: Sequence[PredictionSet], targets: BatchTargets, num_objects: Tensor, matcher: HungarianMatcher,
               criterion: nn.Module, encoder_criterion: nn.Module | None = None,
               mask_criterion: PointMaskCriterion | None = None, num_processes: int = 1) -> dict[str, Tensor]:
    """Losses of every layer of every set.

    Args:
        sets: the predictions.
        targets: the objects.
        num_objects: scalar, objects in the batches of all ranks.
        matcher, criterion: see `HungarianMatcher`, `DETRCriterion`.
        encoder_criterion: for predictions of the encoder; None to use `criterion`.
        mask_criterion: for the sets that have masks; None if there are none.
        num_processes: over how many gradients are averaged; losses are multiplied by it.

    Returns:
        Scalars `loss_cls`, `loss_bbox`, `loss_giou` under the names of `PredictionSet.loss_names`, and `loss_mask`,
        `loss_dice` of sets with masks.
    """
    sets = sorted(sets, key=lambda part: part.matched_gt is not None)  # those to be matched first
    sizes = [part.logits.shape[0] * part.logits.shape[2] for part in sets]
    logits, boxes = [part.logits for part in sets], as_rows([part.boxes_cxcywh for part in sets])
    class_agnostic = None
    if any(part.class_agnostic for part in sets):
        flags = [torch.full((size,), part.class_agnostic) for part, size in zip(sets, sizes, strict=True)]
        class_agnostic = torch.cat(flags).to(boxes.device, non_blocking=True)
    matched = _match(sets, sizes, logits, boxes, targets, matcher, class_agnostic, mask_criterion)
    losses = {}
    for part, rows in zip(sets, matched.split(sizes, dim=1), strict=True):
        if part.masks is not None:
            losses |= _mask_losses(part, rows, targets, num_objects, mask_criterion, num_processes)
    if encoder_criterion is None:
        values = criterion(logits, boxes, matched, targets, class_agnostic)
        return losses | _name(sets, sizes, values, num_objects, num_processes)
    rows = [x.split(sizes, dim=1) for x in (boxes, matched)]
    agnostic_rows = [None] * len(sets) if class_agnostic is None else class_agnostic.split(sizes)
    for from_encoder, used in ((False, criterion), (True, encoder_criterion)):
        chosen = [i for i, part in enumerate(sets) if part.from_encoder is from_encoder]
        if chosen:
            agnostic = None if class_agnostic is None else torch.cat([agnostic_rows[i] for i in chosen])
            chosen_rows = (torch.cat([x[i] for i in chosen], 1) for x in rows)
            values = used([logits[i] for i in chosen], *chosen_rows, targets, agnostic)
            losses |= _name([sets[i] for i in chosen], [sizes[i] for i in chosen], values, num_objects, num_processes)
    return losses


def _match(sets, sizes, logits, boxes, targets: BatchTargets, matcher, class_agnostic, mask_criterion) -> Tensor:
    """matched_gt (B, R) of all rows; one call of the matcher for the sets that need it, which come first."""
    unknown = [part for part in sets if part.matched_gt is None]
    end = sum(sizes[:len(unknown)])
    further_costs = None
    if mask_criterion is not None and mask_criterion.has_costs:
        none = boxes.new_zeros(())
        further_costs = torch.cat([
            none.expand(len(boxes), size, targets.labels.shape[1]) if part.masks is None else
            mask_criterion.costs(part.masks, targets) for part, size in zip(unknown, sizes, strict=False)], 1)
    found = matcher(logits[:len(unknown)], boxes[:, :end], targets, [x for part in unknown for x in part.match_sets()],
                    None if class_agnostic is None else class_agnostic[:end], further_costs)
    return torch.cat([found, *(part.matched_gt.repeat(1, len(part.logits)) for part in sets[len(unknown):])], 1)


def _name(sets, sizes, values: dict[str, Tensor], num_objects: Tensor, num_processes: int) -> dict[str, Tensor]:
    """Losses of each query (B, R) -> sums over queries, by set and layer."""
    losses = {}
    for name, value in values.items():
        for part, rows in zip(sets, value.split(sizes, dim=1), strict=True):
            layers = rows.unflatten(1, (len(part.logits), -1)).sum((0, 2))
            layers = layers * (part.branch.loss_weight * num_processes) / part.divisor(num_objects)
            losses |= {prefix + name: layer for prefix, layer in zip(part.loss_names, layers, strict=True)}
    return losses


def _mask_losses(part: PredictionSet, matched: Tensor, targets: BatchTargets, num_objects: Tensor,
                 mask_criterion: PointMaskCriterion, num_processes: int) -> dict[str, Tensor]:
    """Losses of one set's masks; matched (B, L * Q). Sets without masks do not count in the normaliser."""
    groups = part.branch.num_groups
    values = mask_criterion(part.masks, matched.unflatten(1, (len(part.logits), -1)), targets, groups)
    divisor = num_objects.clamp(min=1) * groups
    return {prefix + name: layer * (part.branch.loss_weight * num_processes) / divisor
            for name, layers in values.items() for prefix, layer in zip(part.loss_names, layers, strict=True)}
