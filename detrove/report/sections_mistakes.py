"""Sections about mistakes: their kinds, confused classes, and images."""

from collections.abc import Sequence

import numpy as np

from . import pictures
from .analysis import DetectorAnalysis
from .blocks import Cell, Note, Picture, Pictures, Section, Table, Text, count, section
from .confusion_tables import confusion_tables
from .error_types import KINDS, assign
from .objects import iou_matrix


def confusions(analyses: Sequence[DetectorAnalysis]) -> Section:
    """Which classes are taken for which."""
    makers = [lambda one=one: confusion_tables(
        one.name, one.confusion, one.truth.classes, extra=('(nothing there)', '(not found)'), unit='objects',
        note=f'detections with a score of {one.best_threshold:.2f} or more (highest F1), IoU 0.5') for one in analyses]
    return section('confusion', 'Confusion matrix', *makers)


def errors(analyses: Sequence[DetectorAnalysis]) -> Section:
    """Kinds of errors and what each costs."""
    return section('errors', 'Error types', lambda: _error_tables(analyses))


def images(analyses: Sequence[DetectorAnalysis]) -> Section:
    """Drawings of images that went well and badly."""
    return section('images', 'Images', *[lambda one=one: _image_blocks(one, analyses) for one in analyses])


def _error_tables(analyses) -> list:
    columns = ['kind', 'what it is']
    for one in analyses:
        prefix = f'{one.name}: ' if len(analyses) > 1 else ''
        columns += [f'{prefix}errors', f'{prefix}AP50 without them']
    rows = []
    for kind, meaning in KINDS.items():
        cells = [Cell(kind), Cell(meaning)]
        for one in analyses:
            gain = one.errors.gains[kind]
            text = f'{one.errors.ap50 + gain:.3f} ({gain:+.3f})'
            cells += [count(one.errors.counts[kind]), Cell(text, gain, gain)]
        rows.append(cells)
    for name, meaning, attribute in (('all wrong detections', 'if each had score 0', 'false_positives'),
                                     ('all objects not found', 'if none were missing', 'false_negatives')):
        cells = [Cell(name), Cell(meaning)]
        for one in analyses:
            gain = getattr(one.errors, attribute)
            cells += [Cell('–'), Cell(f'{one.errors.ap50 + gain:.3f} ({gain:+.3f})', gain, max(gain, 0))]
        rows.append(cells)
    bases = ', '.join(f'{one.name} {one.errors.ap50:.3f}' for one in analyses)
    return [
        Table(f'Errors of boxes as TIDE names them, at IoU 0.5; AP50 as it is: {bases}', columns, rows),
        Text('Every detection counts here, also those with low scores: the numbers of errors are large and say little, '
             'the gains say much. Gains do not add up: mending one kind changes what the others cost.'),
    ]


def _image_blocks(one: DetectorAnalysis, analyses) -> list:
    results = one.image_results
    wrong = pictures.confidently_wrong(one.detections, one.errors)
    first = one is analyses[0]
    blocks = [
        _pictures(one, 'worst images', [(index, '') for index in pictures.worst_images(results)], folded=not first),
        _pictures(one, 'most confidently wrong',
                  [(image, _describe_error(one, detection)) for image, detection in wrong], folded=not first),
        _pictures(one, 'best images', [(index, '') for index in pictures.best_images(results)], folded=True),
    ]
    legend = ('Left the annotated objects, right the detections from the score with the highest F1 on, at IoU 0.5. '
              'Blue is right, orange is wrong or missed; wrong detections name their kind.')
    return [Text(legend), *blocks] if first else blocks


def _describe_error(one: DetectorAnalysis, detection: int) -> str:
    detections = one.detections
    return (f'{one.truth.classes[detections.labels[detection]]} {detections.scores[detection]:.2f}: '
            f'{list(KINDS)[one.errors.kind[detection]]}')


def _pictures(one: DetectorAnalysis, title: str, chosen, *, folded: bool) -> Pictures | Note:
    caption = f'{one.name}: {title}'
    rows, missing = [], []
    found = one.detections.of_images(len(one.truth.image_ids))
    for index, remark in chosen:
        path = one.test_set.image_paths.get(one.truth.image_ids[index].item(), '')
        image = pictures.read_image(path)
        if image is None:
            missing.append(path)
            continue
        rows.append(_picture_row(one, index, image, found[index], remark))
    if missing:
        return Note(f'{caption}: not available, {len(missing)} images cannot be read, the first is {missing[0]}.')
    return Pictures(caption, rows, folded) if rows else Note(f'{caption}: there are none.')


def _picture_row(one: DetectorAnalysis, index: int, image: np.ndarray, found: np.ndarray, remark: str) -> list[Picture]:
    truth, detections = one.truth, one.detections
    shown = found[detections.scores[found] >= one.best_threshold]
    kinds = one.errors.kind
    result = one.image_results[index]
    objects = truth.by_image[index]
    hit = _found_by(one, shown, objects)
    summary = f'image {truth.image_ids[index]}: {result.right} right, {result.wrong} wrong, {result.missed} missed'
    names = ', '.join(f'{truth.classes[detections.labels[at]]} {detections.scores[at]:.2f}' for at in shown[:12])
    return [
        Picture(f'image {truth.image_ids[index]}, annotated',
                f'Annotated: {", ".join(truth.classes[truth.labels[at]] for at in objects) or "no objects"}.',
                pictures.as_data_url(pictures.draw_truth(image, truth, objects, hit))),
        Picture(f'{summary}' + (f'; {remark}' if remark else ''), f'Detected: {names or "nothing"}.',
                pictures.as_data_url(pictures.draw_detections(image, truth, detections, shown, kinds))),
    ]


def _found_by(one: DetectorAnalysis, shown: np.ndarray, objects: np.ndarray) -> set[int]:
    """Those of an image's objects that the shown detections find."""
    iou = iou_matrix(one.detections.boxes_xyxy[shown], one.truth.boxes_xyxy[objects])
    same = one.detections.labels[shown][:, None] == one.truth.labels[objects][None, :]
    taken = assign(np.where(same & ~one.truth.crowd[objects][None, :], iou, 0.0))
    return set(objects[taken[taken >= 0]].tolist())
