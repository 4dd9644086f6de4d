"""Dilations of the published models, by what they were trained for."""

from collections.abc import Sequence
from itertools import cycle, islice

# Per stage, the dilations of its blocks. A longer stage starts over, a shorter one has the last of them.
DILATIONS = {
    '224': ((1, 8), (1, 4, 1, 4), (1, 2), (1,)),
    '384': ((1, 13), (1, 6, 1, 6), (1, 3), (1,)),
    'coco': ((1, 28), (1, 7, 1, 14), (1, 3, 1, 5, 1, 7), (1, 3)),
    'ade20k': ((1, 16), (1, 4, 1, 8), (1, 2, 1, 3, 1, 4), (1, 2)),
    # UPerNet of the large models
    'ade20k-large': ((1, 20), (1, 5, 1, 10), (1, 2, 1, 3, 1, 4, 1, 5, 1, 2, 1, 3, 1, 4, 1, 5, 1, 5), (1, 2)),
    # Mask2Former with kernels of 11, on all data sets
    'mask2former': ((1, 14), (1, 4, 1, 7), (1, 2, 1, 3, 1, 2, 1, 3, 1, 2, 1, 3, 1, 2, 1, 3, 1, 3), (1,)),
}


def block_dilations(dilations: int | str | Sequence[Sequence[int]], depths: Sequence[int]) -> list[list[int]]:
    """The dilation of every block, by stage.

    Args:
        dilations: one for all blocks; a name of `DILATIONS`; or a list for each stage.
        depths: blocks of each stage.

    Raises:
        ValueError: if there is no such name, or the lists do not have one positive number for every block.
    """
    if isinstance(dilations, int):
        dilations = [[dilations] * depth for depth in depths]
    elif isinstance(dilations, str):
        if dilations not in DILATIONS:
            raise ValueError(f'no dilations are called {dilations!r}; choose one of {list(DILATIONS)}, or give a list '
                             'with the dilation of every block for each stage.')
        stages = zip(DILATIONS[dilations], depths, strict=True)
        dilations = [list(islice(cycle(pattern[-depth:]), depth)) for pattern, depth in stages]
    dilations = [list(stage) for stage in dilations]
    if [len(stage) for stage in dilations] != list(depths) or any(d < 1 for stage in dilations for d in stage):
        raise ValueError(f'dilations={dilations} must give one positive number for each block, of which the stages '
                         f'have {list(depths)}.')
    return dilations
