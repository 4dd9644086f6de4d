"""Sections about scores: precision and recall, calibration, and the order of boxes."""

from collections.abc import Sequence

import numpy as np

from .analysis import DetectorAnalysis
from .average_precision import RECALLS
from .blocks import Cell, Chart, Section, Table, Text, count, number, row, section
from .calibration import LOWEST_SCORE
from .curves import mean_precision
from .svg import Series, line_chart

_RANKING = (
    "Rank correlation: Spearman's, between score and IoU of the detections that overlap an object of their class by "
    '0.5 or more. Contested objects have two such detections or more; "best box first" is the share in which the best '
    'scored one is also the best placed, "IoU lost" by how much it falls short. With perfect ranking the same boxes '
    'are scored by their IoU: what a better score alone could gain (Rank-DETR works on this).'
)


def curves(analyses: Sequence[DetectorAnalysis]) -> Section:
    """Precision over recall, and precision, recall and F1 over the score."""
    return section('curves', 'Precision, recall and F1', lambda: _precision_recall(analyses),
                   lambda: _f1_charts(analyses), lambda: _threshold_table(analyses))


def calibration(analyses: Sequence[DetectorAnalysis]) -> Section:
    """Scores against precision and against overlap."""
    return section('calibration', 'Calibration and rank quality', lambda: _calibration_chart(analyses),
                   lambda: _rank_chart(analyses), lambda: _calibration_table(analyses), lambda: _rank_table(analyses))


def _precision_recall(analyses) -> Chart:
    series = []
    for index, one in enumerate(analyses):
        table = mean_precision(one.matches.classes)
        lines = {'IoU 0.5': table[0], 'IoU 0.75': table[5], 'mean over 0.5 to 0.95': table.mean(axis=0)}
        for place, (name, values) in enumerate(lines.items()):
            if len(analyses) == 1 or place != 1:
                label = name if len(analyses) == 1 else f'{one.name}: {name}'
                series.append(Series(label, RECALLS, values, place if len(analyses) == 1 else index,
                                     dashed=len(analyses) > 1 and place == 2))
    return _chart('Precision over recall, mean over the classes', series, 'recall', 'precision')


def _f1_charts(analyses) -> list[Chart]:
    charts = []
    lines = ('precision', 'recall', 'f1')
    if len(analyses) == 1:
        curve = analyses[0].threshold_curve.thinned()
        series = [Series('F1' if name == 'f1' else name, curve.scores, getattr(curve, name), place)
                  for place, name in enumerate(lines)]
        return [_chart('Over the score threshold, all classes together, IoU 0.5', series, 'score threshold', 'value')]
    for name in lines:
        title = 'F1' if name == 'f1' else name.capitalize()
        thinned = [one.threshold_curve.thinned() for one in analyses]
        series = [Series(one.name, curve.scores, getattr(curve, name), index)
                  for index, (one, curve) in enumerate(zip(analyses, thinned, strict=True))]
        charts.append(_chart(f'{title} over the score threshold, IoU 0.5', series, 'score threshold', title))
    return charts


def _threshold_table(analyses) -> Table:
    rows = []
    for one in analyses:
        if not len(one.threshold_curve.scores):
            rows.append([Cell(one.name), *[Cell('–')] * 4])
            continue
        curve, best = one.threshold_curve, one.threshold_curve.best
        rows.append(row(one.name, *(float(values[best]) for values in (curve.scores, curve.f1, curve.precision,
                                                                       curve.recall))))
    return Table('The score threshold with the highest F1 (IoU 0.5, all classes together)',
                 ['run', 'threshold', 'F1', 'precision', 'recall'], rows)


def _calibration_chart(analyses: Sequence[DetectorAnalysis]) -> Chart:
    series = [Series('as it should be', (0, 1), (0, 1), 7, dashed=True)]
    for index, one in enumerate(analyses):
        result = one.calibration
        filled = result.counts > 0
        series.append(Series(one.name, result.scores[filled], result.precision[filled], index, marks=True))
    caption = f'Share of right detections (IoU 0.5) by score, of detections with a score of {LOWEST_SCORE} or more'
    return _chart(caption, series, 'score', 'share that is right')


def _calibration_table(analyses: Sequence[DetectorAnalysis]) -> Table:
    rows = [[Cell(one.name), number(one.calibration.error), count(int(one.calibration.counts.sum()))]
            for one in analyses]
    return Table('Expected calibration error: mean distance from the diagonal, 0 is best',
                 ['run', 'error', 'detections'], rows)


def _rank_chart(analyses) -> Chart:
    """Mean overlap of detections by their score."""
    series = []
    for index, one in enumerate(analyses):
        iou, scores = one.rank_quality.iou, one.detections.scores
        used = one.matches.counted[0] & (scores >= LOWEST_SCORE)
        place = np.clip((scores[used] * 10).astype(int), 0, 9)
        counts = np.bincount(place, minlength=10)
        mean = np.bincount(place, weights=iou[used], minlength=10) / np.maximum(counts, 1)
        filled = counts > 0
        series.append(Series(one.name, (np.arange(10) + 0.5)[filled] / 10, mean[filled], index, marks=True))
    return _chart('Mean IoU with the nearest object of the class, by score', series, 'score', 'mean IoU')


def _rank_table(analyses) -> list:
    rows = []
    for one in analyses:
        quality = one.rank_quality
        ap = one.summary.ap if one.iou_type == 'bbox' else np.nan
        rows.append([Cell(one.name), number(quality.correlation), count(quality.contested), number(quality.best_first),
                     number(quality.iou_lost), number(quality.perfect_ap), number(quality.perfect_ap - ap, sign=True)])
    columns = ['run', 'rank correlation', 'contested objects', 'best box first', 'IoU lost', 'AP with perfect ranking',
               'gain']
    return [Table('How well scores rank boxes', columns, rows), Text(_RANKING)]


def _chart(caption: str, series: Sequence[Series], x_label: str, y_label: str) -> Chart:
    """Both axes from 0 to 1."""
    svg = line_chart(series, x_label=x_label, y_label=y_label, description=f'{caption}.', x_range=(0, 1),
                     y_range=(0, 1))
    return Chart(caption, svg, [(one.colour, one.name) for one in series] if len(series) > 1 else ())
