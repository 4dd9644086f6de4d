"""How neighborhood attention cuts one axis of a map into tiles of queries and the keys that their windows reach."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain, pairwise

import torch

#: Fetching a key and its value, and adding their gradients back, costs as much time as so many scores.
SCORES_PER_KEY = 8
LONGEST_TILE = 16


@dataclass(frozen=True)
class AxisTiles:
    """One axis cut into tiles, T in all: those of every residue, sorted so that each of `sets` is a run of tiles
    that share no key.

    Attributes:
        queries: (T, t) tokens; a tile that reaches over the end of its group repeats the last token of the group.
        is_query: (T, t) false for those repetitions.
        keys: (T, R) tokens.
        classes: (T,) the row of `bias_index`.
        bias_index: (classes, t, R) place in the bias, -1 for a key outside the window.
        query_slots: (length,) where a token is found in the flattened `queries`.
        key_slots: (T * R,) places in the flattened `keys`, sorted by token.
        key_slot_starts: (length,) first place in `key_slots` of every token.
        sets: (first, end) of each run.
        has_repetitions: whether any of `is_query` is false.
    """

    queries: torch.Tensor
    is_query: torch.Tensor
    keys: torch.Tensor
    classes: torch.Tensor
    bias_index: torch.Tensor
    query_slots: torch.Tensor
    key_slots: torch.Tensor
    key_slot_starts: torch.Tensor
    sets: tuple[tuple[int, int], ...]
    has_repetitions: bool


@lru_cache(maxsize=512)
def axis_tiles(length: int, kernel_size: int, dilation: int, tile: int, device: torch.device) -> AxisTiles:
    """The tables of an axis of `length` tokens that is cut into tiles of `tile` queries."""
    # Cached, so they must serve training later even if this call is made in inference mode.
    with torch.inference_mode(False):
        longest = -(-length // dilation)
        reach = min(longest, tile + kernel_size - 1)
        residue = torch.arange(dilation).repeat_interleave(-(-longest // tile))[:, None]
        first_rank = torch.arange(0, longest, tile).repeat(dilation)[:, None]
        group = (length - residue + dilation - 1) // dilation
        key_start = (first_rank - kernel_size // 2).clamp(min=0).minimum((group - reach).clamp(min=0))
        order, sets = _disjoint_sets(residue[:, 0].tolist(), key_start[:, 0].tolist(), reach)
        residue, first_rank, group, key_start = (x[order] for x in (residue, first_rank, group, key_start))

        wanted = first_rank + torch.arange(tile)
        rank = wanted.minimum(group - 1)
        key_rank = key_start + torch.arange(reach)
        window_start = (rank - kernel_size // 2).clamp(min=0).minimum(group - kernel_size)[..., None]
        seen = (key_rank[:, None] >= window_start) & (key_rank[:, None] < window_start + kernel_size)
        bias_index = (key_rank[:, None] - rank[..., None] + kernel_size - 1).masked_fill(~seen, -1)
        bias_index, classes = bias_index.unique(dim=0, return_inverse=True)
        queries = rank * dilation + residue
        keys = key_rank.minimum(group - 1) * dilation + residue
        is_query = wanted < group
        query_slots = torch.empty(length, dtype=torch.long)
        query_slots[queries[is_query]] = is_query.flatten().nonzero()[:, 0]
        key_slots = keys.flatten().sort(stable=True).indices
        counts = keys.flatten().bincount(minlength=length)
        tables = (queries, is_query, keys, classes, bias_index, query_slots, key_slots, counts.cumsum(0) - counts)
        has_repetitions = not bool(is_query.all())
        return AxisTiles(*(table.to(device) for table in tables), sets, has_repetitions)


def _disjoint_sets(residues, starts, reach):
    """An order of the tiles, and the runs (first, end) in it within which no two tiles share a key."""
    sets, set_ends = [], []  # tiles of each set; residue -> end of the last of them
    for tile, (residue, start) in enumerate(zip(residues, starts, strict=True)):
        free = (i for i, ends in enumerate(set_ends) if ends.get(residue, 0) <= start)
        chosen = next(free, len(sets))
        if chosen == len(sets):
            sets.append([])
            set_ends.append({})
        sets[chosen].append(tile)
        set_ends[chosen][residue] = start + reach
    bounds = list(accumulate(map(len, sets), initial=0))
    return list(chain(*sets)), tuple(pairwise(bounds))


@lru_cache(maxsize=512)
def tile_size(size_hw: tuple[int, int], kernel_hw: tuple[int, int], dilation_hw: tuple[int, int]) -> tuple[int, int]:
    """(h, w) of the tiles that should take the least time."""

    def axis(i):
        longest = -(-size_hw[i] // dilation_hw[i])
        for tile in range(1, min(longest, LONGEST_TILE) + 1):
            yield tile, -(-longest // tile), min(longest, tile + kernel_hw[i] - 1)

    def cost(candidate):
        (tile_h, tiles_h, reach_h), (tile_w, tiles_w, reach_w) = candidate
        return tiles_h * tiles_w * reach_h * reach_w * (tile_h * tile_w + SCORES_PER_KEY)

    (tile_h, *_), (tile_w, *_) = min(((h, w) for h in axis(0) for w in axis(1)), key=cost)
    return tile_h, tile_w
