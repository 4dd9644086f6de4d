"""Losses and matching costs of instance masks, on sampled points."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from detrove.layers.precision import at_least_fp32
from detrove.layers.targets import BatchTargets
from detrove.ops.points import sample_points, uncertain_points


class QueryMasks(NamedTuple):
    """Masks that queries predict, as factors: the logits of a query are its embedding times the pixels' embeddings.

    embeddings (L, B, Q, D), of Q queries after L decoder layers; pixels (B, D, h, w).
    """

    embeddings: Tensor
    pixels: Tensor


@MODELS.register_module()
class PointMaskCriterion(nn.Module):
    """Cross entropy and dice of the masks of matched queries, at points most of which lie where masks are undecided.

    Mask2Former (Cheng et al. 2022), section 3.3 and Mask DINO (Li et al. 2023), section 3.4. Only masks of matched
    queries are computed, never those of all queries. An image without objects contributes nothing; a batch without
    objects computes one mask with weight zero, so that every rank builds the same graph.

    Args:
        weight_mask, weight_dice: weights of the two losses.
        cost_mask, cost_dice: weights of the same as costs of matching; with both 0 boxes and classes alone decide.
        num_points: points per mask.
        oversample_ratio, importance_ratio: see `uncertain_points`.
    """

    def __init__(self, *, weight_mask: float = 5.0, weight_dice: float = 5.0, cost_mask: float = 5.0,
                 cost_dice: float = 5.0, num_points: int = 12544, oversample_ratio: float = 3.0,
                 importance_ratio: float = 0.75):
        super().__init__()
        if oversample_ratio < 1 or not 0 <= importance_ratio <= 1:
            raise ValueError(f'oversample_ratio={oversample_ratio} must be at least 1, '
                             f'importance_ratio={importance_ratio} lie in [0, 1].')
        self.weight_mask = weight_mask
        self.weight_dice = weight_dice
        self.cost_mask = cost_mask
        self.cost_dice = cost_dice
        self.num_points = num_points
        self.sampling = dict(num_points=num_points, oversample_ratio=oversample_ratio,
                             importance_ratio=importance_ratio)

    @property
    def has_costs(self) -> bool:
        return bool(self.cost_mask or self.cost_dice)

    @torch.no_grad()
    def costs(self, masks: QueryMasks, targets: BatchTargets) -> Tensor:
        """Cost of each query's mask for each object (B, L * Q, M), at uniform points that an image's masks share.

        Logits are made at the points alone, from pixel embeddings sampled there.
        """
        embeddings, pixels = (at_least_fp32(x) for x in masks)
        batch, padded = targets.labels.shape
        points = torch.rand(batch, self.num_points, 2, device=pixels.device, dtype=pixels.dtype)
        at_points = F.grid_sample(pixels, 2 * points[:, :, None] - 1, align_corners=False)[..., 0]
        image, slot = targets.objects()
        found = sample_points(targets.masks.to(pixels.dtype), points[image])
        truth = found.new_zeros(batch, padded, self.num_points)
        truth[image, slot] = found
        costs = [self._layer_costs(layer @ at_points, truth) for layer in embeddings]
        return torch.cat(costs, 1)

    def _layer_costs(self, logits: Tensor, truth: Tensor) -> Tensor:
        """logits (B, Q, P), truth (B, M, P) -> (B, Q, M)."""
        transposed = truth.transpose(1, 2)
        entropy = F.softplus(logits).mean(-1, keepdim=True) - logits @ transposed / logits.shape[-1]
        prob = logits.sigmoid()
        total = prob.sum(-1, keepdim=True) + truth.sum(-1)[:, None]
        dice = 1 - (2 * prob @ transposed + 1) / (total + 1)
        return self.cost_mask * entropy + self.cost_dice * dice

    def forward(self, masks: QueryMasks, matched_gt: Tensor, targets: BatchTargets,
                num_groups: int = 1) -> dict[str, Tensor]:
        """Weighted losses of each layer, summed over objects.

        Args:
            masks: of a branch in which each object has at most one query in each group.
            matched_gt: (B, L, Q), index of the matched object or -1.
            targets: the objects, with their masks.
            num_groups: G, groups of equal size that the queries lie in.

        Returns:
            loss_mask and loss_dice, each (L,).
        """
        embeddings, pixels = (at_least_fp32(x) for x in masks)
        truth = targets.masks.to(pixels.dtype)
        layers = []
        for layer, matched in zip(embeddings, matched_gt.unbind(1), strict=True):
            logits, found = self._masks_of_objects(layer, pixels, matched, targets, num_groups)
            layers.append([(loss * found).sum() for loss in self._point_losses(logits, truth)])
        mask, dice = (torch.stack(values) for values in zip(*layers, strict=True))
        return dict(loss_mask=mask * self.weight_mask, loss_dice=dice * self.weight_dice)

    @staticmethod
    def _masks_of_objects(embeddings: Tensor, pixels: Tensor, matched: Tensor, targets: BatchTargets,
                          num_groups: int) -> tuple[Tensor, Tensor]:
        """Mask logits (T, G, h, w) that are to become each object, and whether there is such a query (T, G)."""
        image, slot = targets.objects()
        query, found = queries_of_objects(matched, num_groups, targets.labels.shape[1])
        query, found = query[image, :, slot], found[image, :, slot]
        chosen = embeddings[image[:, None], query]
        # image by image: a copy of the pixels for each object would be too large
        parts = zip(chosen.split(targets.objects_per_image), pixels.flatten(2), strict=True)
        return torch.cat([rows @ image_pixels for rows, image_pixels in parts]).unflatten(2, pixels.shape[2:]), found

    def _point_losses(self, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """logits (T, G, h, w), truth (T, H, W) -> cross entropy and dice loss of each mask (T, G)."""
        flat = logits.flatten(0, 1)
        points = uncertain_points(flat, **self.sampling)
        at_points = sample_points(flat, points)
        # a truth is looked up for all its groups at once, without a copy for each
        wanted = sample_points(truth, points.unflatten(0, logits.shape[:2]).flatten(1, 2)).view_as(at_points)
        entropy = F.binary_cross_entropy_with_logits(at_points, wanted, reduction='none').mean(-1)
        prob = at_points.sigmoid()
        dice = 1 - (2 * (prob * wanted).sum(-1) + 1) / (prob.sum(-1) + wanted.sum(-1) + 1)
        return entropy.unflatten(0, logits.shape[:2]), dice.unflatten(0, logits.shape[:2])


def queries_of_objects(matched_gt: Tensor, num_groups: int, num_objects: int) -> tuple[Tensor, Tensor]:
    """Turn "which object has this query" round.

    Args:
        matched_gt: (B, Q), index of the matched object or -1; no object twice in a group.
        num_groups: G, groups that the queries lie in.
        num_objects: M.

    Returns:
        query (B, G, M), the query of each object in each group, the group's first if there is none, and found
        (B, G, M) bool.
    """
    grouped = matched_gt.unflatten(1, (num_groups, -1))
    size = grouped.shape[2]
    place = torch.where(grouped < 0, num_objects, grouped)  # one more column takes the queries without object
    inverse = place.new_full((*grouped.shape[:2], num_objects + 1), -1)
    inverse.scatter_(2, place, torch.arange(size, device=place.device).expand_as(place))
    inverse = inverse[..., :num_objects]
    first = torch.arange(num_groups, device=place.device)[:, None] * size
    return inverse.clamp(min=0) + first, inverse >= 0
