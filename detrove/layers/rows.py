"""Rows: the predictions of all layers and branches one behind the other, so that they are computed in one go.

Logits are too large to be copied for that. They stay parts (L, B, Q, C), one for each branch, that stand for their
rows: those of the first layer of the first part, those of its second layer, and so on.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

#: (B, R, ...), or parts (L, B, Q, ...) with R = sum of L * Q.
Rows = Tensor | Sequence[Tensor]


def as_rows(parts: Sequence[Tensor]) -> Tensor:
    """(L, B, Q, ...) each -> (B, R, ...), in one copy."""
    return torch.cat([layer for part in parts for layer in part], dim=1)


def split_rows(rows: Tensor, parts: Sequence[Tensor]) -> list[Tensor]:
    """(B, R, ...) -> views (L, B, Q, ...), as `parts` are."""
    pieces = rows.split([part.shape[0] * part.shape[2] for part in parts], dim=1)
    return [piece.unflatten(1, (len(part), -1)).transpose(0, 1) for piece, part in zip(pieces, parts, strict=True)]


def num_rows(rows: Rows) -> int:
    """R."""
    return rows.shape[1] if isinstance(rows, Tensor) else sum(part.shape[0] * part.shape[2] for part in rows)


def gather_rows(rows: Rows, index: Tensor) -> Tensor:
    """Entries of the last dimension: index (B, R, M) -> (B, R, M)."""
    if isinstance(rows, Tensor):
        return rows.gather(-1, index)
    return as_rows([part.gather(-1, own) for part, own in zip(rows, split_rows(index, rows), strict=True)])


def rows_of_images(rows: Rows, images: slice) -> Rows:
    """Those of some images of the batch."""
    return rows[images] if isinstance(rows, Tensor) else [part[:, images] for part in rows]
