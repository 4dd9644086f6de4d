"""Points of maps: values between cells, and the points of a mask that are worth learning from."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .determinism import adds_in_any_order
from .ms_deform_attn import ms_deform_attn


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of maps at points.

    Args:
        maps: (N, h, w).
        points: (N, P, 2), x and y as shares of the map, 0 at its outer left and upper edge, 1 at the other ones.

    Returns:
        (N, P); half a cell from the border values fade to zero, as detectron2's `point_sample` has it.
    """
    if adds_in_any_order(maps):
        value, locations = maps.flatten(1)[..., None, None], points[:, :, None, None, None]
        weights = torch.ones_like(locations[..., 0])
        return ms_deform_attn(value, [tuple(maps.shape[1:])], locations, weights)[..., 0]
    return F.grid_sample(maps[:, None], 2 * points[:, :, None] - 1, align_corners=False)[:, 0, :, 0]


def uncertain_points(logits: Tensor, num_points: int, oversample_ratio: float = 3.0,
                     importance_ratio: float = 0.75) -> Tensor:
    """Random points, most of them where a mask is undecided.

    PointRend (Kirillov et al. 2020), section 3.1, training: of `oversample_ratio` times as many uniform points those
    are kept whose logit lies nearest to zero; further uniform points fill up.

    Args:
        logits: (N, h, w) of masks; no gradient passes.
        num_points: P, points per mask.
        oversample_ratio: candidates per point.
        importance_ratio: share of the points that are chosen so.

    Returns:
        (N, P, 2) as `sample_points` takes them.
    """
    chosen = int(importance_ratio * num_points)
    candidates = torch.rand(len(logits), int(num_points * oversample_ratio), 2, device=logits.device,
                            dtype=logits.dtype)
    distance = sample_points(logits.detach(), candidates).abs()
    nearest = distance.topk(chosen, dim=1, largest=False, sorted=False).indices
    rest = torch.rand(len(logits), num_points - chosen, 2, device=logits.device, dtype=logits.dtype)
    return torch.cat([candidates.gather(1, nearest[..., None].expand(-1, -1, 2)), rest], 1)
