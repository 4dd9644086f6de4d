"""How intervals are written, and what is said about them."""

import numpy as np

from .blocks import Cell
from .bootstrap import LEVEL, Bootstrap, Interval


def interval_text(interval: Interval, *, sign: bool = False) -> str:
    """`0.412 [0.398, 0.427]`."""
    form = '+.3f' if sign else '.3f'
    if np.isnan(interval.low):
        return '–' if np.isnan(interval.value) else f'{interval.value:{form}}'
    return f'{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]'


def difference_cell(interval: Interval) -> Cell:
    """A difference with its interval, coloured where the interval excludes 0."""
    tone = '' if not interval.excludes_zero else 'good' if interval.value > 0 else 'bad'
    return Cell(interval_text(interval, sign=True), interval.value, None, tone)


def how_compared(samples: Bootstrap, num_images: int) -> str:
    """What the intervals mean and what they do not."""
    return (
        f'Intervals of {LEVEL:.0%} from {samples.num_resamples} resamples of the {num_images} images (drawn with '
        'replacement, the same images for every run in each; bias-corrected percentiles). They say how far the result '
        'could come from the choice of test images. They do not say what another training with another seed would '
        'give: for that, train several seeds (tools/ablate.py).'
    )
