"""Sine and cosine embeddings of positions in the image."""

import math

import torch
from torch import Tensor

from .memory import Memory, token_grid


def sine_embedding(x: Tensor, num_feats: int, temperature: float = 10000.0) -> Tensor:
    """x (...), an angle, -> (..., num_feats): sine and cosine in turn at falling frequencies (Vaswani et al. 2017)."""
    frequency = temperature ** -(torch.arange(num_feats // 2, dtype=x.dtype, device=x.device) * 2 / num_feats)
    angle = x[..., None] * frequency
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)


def sine_of_boxes(boxes_cxcywh: Tensor, num_feats: int, order: str = 'yxwh') -> Tensor:
    """boxes (..., 4), normalised, -> (..., 4 * num_feats), one embedding for each number.

    Args:
        boxes_cxcywh: (..., 4).
        num_feats: channels for each of the four numbers.
        order: of the four parts; 'yxwh' in DAB-DETR, DINO and Relation-DETR, 'xywh' in Deformable DETR.
    """
    parts = [boxes_cxcywh[..., 'xywh'.index(name)] for name in order]
    return sine_embedding(torch.stack(parts, -1) * (2 * math.pi), num_feats).flatten(-2)


def sine_of_tokens(memory: Memory, embed_dims: int, temperature: float = 10000.0, offset: float = 0.0) -> Tensor:
    """Position embedding of every token, normalised by the size of its image: (B, S, C), or (1, S, C) without padding.

    DETR (Carion et al. 2020), appendix A.4: half the channels for y, then half for x, over [0, 2 pi]. Cells count from
    one; `offset` (-0.5 in Deformable DETR and its heirs) moves them to the middle.
    """
    cells, level = token_grid(memory.spatial_shapes, memory.tokens.device)
    wh = (memory.level_wh[None] if memory.valid_wh is None else memory.valid_wh)[:, level]
    cells = torch.minimum(cells.to(wh.dtype) + 1, wh)  # padding repeats the last cell; nothing reads it
    x, y = ((cells + offset) / (wh + 1e-6) * (2 * math.pi)).unbind(-1)
    num_feats = embed_dims // 2
    return torch.cat([sine_embedding(axis, num_feats, temperature) for axis in (y, x)], -1)
