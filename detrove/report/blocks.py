"""What a page consists of: sections of texts, tables, charts and pictures."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .unavailable import Unavailable


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what is shown.
        order: what the column is sorted by; the text when None.
        share: length of a bar behind the text, 0 to 1.
        tone: `good`, `bad` or nothing.
    """

    text: str
    order: float | None = None
    share: float | None = None
    tone: str = ''


@dataclass(frozen=True)
class Text:
    text: str
    kind: str = 'text'


@dataclass(frozen=True)
class Note:
    """Why something is not there."""

    text: str
    kind: str = 'note'


@dataclass(frozen=True)
class Table:
    """A table whose columns can be sorted; the first column heads its row.

    Attributes:
        heat: shade cells by their share instead of drawing bars.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    heat: bool = False
    folded: bool = False
    kind: str = 'table'


@dataclass(frozen=True)
class Chart:
    """A drawing with its legend: pairs of a series' number and its name."""

    caption: str
    svg: str
    legend: Sequence[tuple[int, str]] = ()
    kind: str = 'chart'


@dataclass(frozen=True)
class Picture:
    caption: str
    alt: str
    url: str


@dataclass(frozen=True)
class Pictures:
    caption: str
    rows: Sequence[Sequence[Picture]]
    folded: bool = False
    kind: str = 'pictures'


@dataclass(frozen=True)
class Section:
    """A part of the page under its own heading; `anchor` is its address in the page."""

    anchor: str
    title: str
    blocks: Sequence = field(default_factory=list)


def section(anchor: str, title: str, *makers: Callable) -> Section:
    """A section of what functions return, a block or a list; what cannot be made says why."""
    blocks = []
    for make in makers:
        try:
            made = make()
        except Unavailable as why:
            made = Note(f'Not available: {why}.')
        blocks += made if isinstance(made, list) else [made]
    return Section(anchor, title, blocks)


def number(value: float | None, digits: int = 3, *, share: bool = False, sign: bool = False, tone: str = '') -> Cell:
    """A cell with a number, a dash where there is none."""
    if value is None or math.isnan(value):
        return Cell('–', order=-math.inf)
    text = f'{value:+.{digits}f}' if sign else f'{value:.{digits}f}'
    return Cell(text, float(value), min(max(float(value), 0.0), 1.0) if share else None, tone)


def count(value: int) -> Cell:
    """A cell with a whole number."""
    return Cell(f'{value:,}'.replace(',', '\u202f'), float(value))


def row(*values) -> list[Cell]:
    """Cells from texts, whole numbers, floats and cells."""
    return [value if isinstance(value, Cell) else count(value) if isinstance(value, int)
            else number(value) if isinstance(value, float) or value is None else Cell(str(value)) for value in values]
