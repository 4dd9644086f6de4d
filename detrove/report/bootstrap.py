"""How far a difference of AP could come from the choice of the test images: paired bootstrap over images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .average_precision import mean_over

NUM_RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A value with the interval that `LEVEL` of the resamples give."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Bootstrap:
    """The values of runs on the same resamples of the images.

    Attributes:
        values: for each run (...), measured on all images.
        samples: for each run (R, ...), measured on each resample; NaN where a resample has no object.
    """

    values: Sequence[np.ndarray]
    samples: Sequence[np.ndarray]

    @property
    def num_resamples(self) -> int:
        return len(self.samples[0])

    def interval(self, run: int, part=()) -> Interval:
        """The mean over a part of the values: all of them, or `np.s_[:, 0]`."""
        return _interval(self._value(run, part), self._samples(run, part))

    def difference(self, run: int, base: int, part=()) -> Interval:
        """The mean of `run` minus that of `base`, both on the same images in each resample."""
        value = self._value(run, part) - self._value(base, part)
        return _interval(value, self._samples(run, part) - self._samples(base, part))

    def _value(self, run: int, part) -> float:
        return float(mean_over(self.values[run][part]))

    def _samples(self, run: int, part) -> np.ndarray:
        part = part if isinstance(part, tuple) else (part,)
        chosen = self.samples[run][(slice(None), *part)]
        return mean_over(chosen.reshape(len(chosen), -1), axis=1)


def bootstrap(measures: Sequence[Callable[[np.ndarray], np.ndarray]], num_images: int, *,
              num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> Bootstrap:
    """Measure runs on resamples of their images, drawn with replacement, the same for every run.

    Args:
        measures: for each run a function of (I,) weights, how often each image counts.
        num_images: I.

    Raises:
        ValueError: if there are fewer than two images or resamples.
    """
    if num_images < 2 or num_resamples < 2:
        raise ValueError('a bootstrap needs two images and two resamples at least, '
                         f'got {num_images} and {num_resamples}')
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(num_images, np.full(num_images, 1 / num_images), size=num_resamples)
    once = np.ones(num_images)
    return Bootstrap([measure(once) for measure in measures],
                     [np.stack([measure(one.astype(np.float64)) for one in weights]) for measure in measures])


def _interval(value: float, samples: np.ndarray) -> Interval:
    """Bias-corrected percentiles (Efron 1981): AP of a resample is a little high, for images that are in it twice agree
    with themselves."""
    from scipy.stats import norm

    known = samples[~np.isnan(samples)]
    if not len(known):
        return Interval(value, np.nan, np.nan)
    below = ((known < value).sum() + 0.5 * (known == value).sum()) / len(known)
    bias = norm.ppf(np.clip(below, 0.5 / len(known), 1 - 0.5 / len(known)))
    low, high = np.quantile(known, norm.cdf(2 * bias + norm.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2])))
    return Interval(value, float(low), float(high))
