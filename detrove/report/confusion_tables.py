"""A confusion matrix as tables, for objects and for pixels."""

from collections.abc import Sequence

import numpy as np

from .blocks import Cell, Table, Text, count, number, row
from .confusion import worst_confusions

_LARGEST_MATRIX = 20  # classes shown


def confusion_tables(name: str, matrix: np.ndarray, classes: Sequence[str], *, extra: tuple[str, str] | None,
                     unit: str, note: str) -> list:
    """A matrix as a shaded table, of many classes the most confused ones, and the most frequent confusions.

    Args:
        matrix: (K, K) counts with true classes in rows, or (K + 1, K + 1) with `extra`.
        extra: names of the last row and column, such as "(nothing there)" and "(not found)".
        unit: what is counted; shares are shown in place of pixels.
    """
    num_classes = len(classes)
    shown = _most_confused(matrix[:num_classes, :num_classes])
    last = [num_classes] if extra else []
    totals = matrix.sum(axis=1)
    row_names, column_names = ([*classes, *(extra[index : index + 1] if extra else ())] for index in range(2))
    rows = [[Cell(row_names[index]), *(_cell(matrix, totals, index, column, unit) for column in [*shown, *last]),
             count(int(totals[index]))] for index in [*shown, *last]]
    caption = f'{name}: rows are true classes, columns detected ones, shaded by their share of the row; {note}'
    heads = [column_names[index] for index in [*shown, *last]]
    blocks = [Table(caption, ['true class', *heads, unit], rows, heat=True)]
    if len(shown) < num_classes:
        blocks.append(Text(f'Of {num_classes} classes the {len(shown)} that are confused most are in the matrix.'))
    pairs = worst_confusions(matrix, tuple(classes))
    if not pairs:
        return [*blocks, Text('No class was taken for another.')]
    rows = [row(true, found, times, number(times / max(totals[classes.index(true)], 1), share=True))
            for true, found, times in pairs]
    return [*blocks, Table(f'{name}: most frequent confusions', ['is', 'taken for', unit, 'share of the class'], rows)]


def _most_confused(matrix: np.ndarray) -> list[int]:
    confused = matrix * ~np.eye(len(matrix), dtype=bool)
    order = np.argsort(-(confused.sum(axis=0) + confused.sum(axis=1)), kind='stable')
    return sorted(order[:_LARGEST_MATRIX].tolist())


def _cell(matrix: np.ndarray, totals: np.ndarray, index: int, column: int, unit: str) -> Cell:
    value, share = int(matrix[index, column]), float(matrix[index, column] / max(totals[index], 1))
    text = '·' if not value else f'{share:.2f}' if unit == 'pixels' else str(value)
    return Cell(text, float(value), share, 'good' if index == column else 'bad')
