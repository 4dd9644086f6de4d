"""Line charts as small inline SVG, in the colours of the page around them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

NUM_COLOURS = 8  # of series, in page.css
_WIDTH, _HEIGHT = 420, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 10, 10, 40


@dataclass(frozen=True)
class Series:
    """Points of a line, in the order they are joined.

    Attributes:
        colour: number of the colour; runs keep theirs through the page.
        marks: draw the points, too.
        dashed: for lines to compare with.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    marks: bool = False
    dashed: bool = False


def line_chart(series: Sequence[Series], *, x_label: str, y_label: str, description: str,
               x_range: tuple[float, float] | None = None, y_range: tuple[float, float] | None = None,
               whole: str = '') -> str:
    """An SVG with axes and lines; `description` is read out in its place. Axes in `whole`, 'x' or 'xy', count."""
    xs, ys = (np.concatenate([np.asarray(getattr(one, axis), dtype=float) for one in series] or [np.zeros(0)])
              for axis in 'xy')
    x_axis = _Axis(*(x_range or _range(xs)), _LEFT, _WIDTH - _RIGHT, 'x' in whole)
    y_axis = _Axis(*(y_range or _range(ys)), _HEIGHT - _BOTTOM, _TOP, 'y' in whole)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(description)}">']
    parts += _axes(x_axis, y_axis, x_label, y_label)
    for one in series:
        parts += _line(one, x_axis, y_axis)
    return ''.join([*parts, '</svg>'])


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float  # pixels
    end: float
    whole: bool = False  # no ticks between whole numbers

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Round values with their texts."""
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next(factor for factor in (1, 2, 2.5, 5, 10) if (self.high - self.low) / (step * factor) <= 6)
        if self.whole:
            step = max(1.0, float(round(step)))
        first = math.ceil(self.low / step - 1e-9)
        values = [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [(value, f'{value:.4g}' if abs(value) > 1e-12 else '0') for value in values]


def _range(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    if low >= 0 and low < 0.5 * high:
        low = 0.0
    return (low, high) if high > low else (low - 0.5 * abs(low or 1), high + 0.5 * abs(high or 1))


def _axes(x_axis: _Axis, y_axis: _Axis, x_label: str, y_label: str) -> list[str]:
    parts = ['<g class="axes" aria-hidden="true">']
    for value, text in x_axis.ticks():
        x = x_axis(value)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
                     f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="middle">{text}</text>')
    for value, text in y_axis.ticks():
        y = y_axis(value)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                     f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    middle_x, middle_y = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    turned = f'translate(11 {middle_y}) rotate(-90)'
    parts.append(f'<text x="{middle_x}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
                 f'<text transform="{turned}" text-anchor="middle">{escape(y_label)}</text>')
    return [*parts, '</g>']


def _line(one: Series, x_axis: _Axis, y_axis: _Axis) -> list[str]:
    points = [(x_axis(x), y_axis(y), x, y) for x, y in zip(map(float, one.x), map(float, one.y), strict=True)
              if math.isfinite(x) and math.isfinite(y)]
    path = ' '.join(f'{x:.1f},{y:.1f}' for x, y, _, _ in points)
    style = f's{one.colour % NUM_COLOURS}' + (' dashed' if one.dashed else '')
    parts = [f'<g class="{style}"><polyline points="{path}"><title>{escape(one.name)}</title></polyline>']
    if one.marks:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{escape(one.name)}: {value:.4g} at {place:.4g}'
                  '</title></circle>' for x, y, place, value in points]
    return [*parts, '</g>']
