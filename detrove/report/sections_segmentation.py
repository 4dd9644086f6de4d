"""Sections about a segmentor."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import pictures
from .average_precision import mean_over
from .blocks import Cell, Note, Picture, Pictures, Section, Table, Text, number, section
from .bootstrap import NUM_RESAMPLES, Bootstrap, bootstrap
from .confusion_tables import confusion_tables
from .intervals import difference_cell, how_compared, interval_text
from .run import Run
from .segmentation import SHOWN, Segmentation
from .unavailable import Unavailable


@dataclass(frozen=True)
class SegmentorAnalysis:
    """One run of a segmentor."""

    run: Run
    result: Segmentation

    @property
    def name(self) -> str:
        return self.run.name


def compare(analyses: Sequence[SegmentorAnalysis], *, num_resamples: int = NUM_RESAMPLES) -> Bootstrap:
    """IoU of every run on the same resamples of the images.

    Raises:
        Unavailable: if the runs were not measured on the same images, or there are too few.
    """
    first = analyses[0].result
    for one in analyses[1:]:
        if one.result.img_paths != first.img_paths or one.result.classes != first.classes:
            raise Unavailable(f'{analyses[0].name} and {one.name} were measured on other images or classes')
    if len(first.img_paths) < 2:
        raise Unavailable('intervals need two images at least')
    return bootstrap([one.result.iou for one in analyses], len(first.img_paths), num_resamples=num_resamples)


def overview(analyses: Sequence[SegmentorAnalysis], samples: Bootstrap | Unavailable) -> Section:
    """Mean IoU with intervals, and the differences from the first run."""
    return section('overview', 'Overview', lambda: _mean_table(analyses, samples), lambda: _origins(analyses))


def by_class(analyses: Sequence[SegmentorAnalysis], samples: Bootstrap | Unavailable) -> Section:
    """IoU of every class."""
    return section('classes', 'IoU by class', lambda: _class_table(analyses, samples))


def confusions(analyses: Sequence[SegmentorAnalysis]) -> Section:
    """Which classes are taken for which."""
    return section('confusion', 'Confusion matrix', *[
        lambda one=one: confusion_tables(one.name, one.result.confusion().astype(np.int64), one.result.classes,
                                         extra=None, unit='pixels', note='all pixels that have a class')
        for one in analyses])


def images(analyses: Sequence[SegmentorAnalysis]) -> Section:
    """Worst and best images."""
    return section('images', 'Images', *[lambda one=one: _image_blocks(one) for one in analyses])


def _mean_table(analyses, samples) -> list:
    rows = []
    known = not isinstance(samples, Unavailable)
    for index, one in enumerate(analyses):
        mean = float(mean_over(one.result.iou()))
        confusion = one.result.confusion()
        accuracy = float(np.trace(confusion) / max(confusion.sum(), 1))
        cells = [Cell(one.name), Cell(interval_text(samples.interval(index)), mean) if known else number(mean),
                 number(accuracy)]
        if len(analyses) > 1:
            cells.append(Cell('–') if not known or not index else difference_cell(samples.difference(index, 0)))
        rows.append(cells)
    columns = ['run', 'mIoU', 'pixel accuracy', *([f'mIoU − {analyses[0].name}'] if len(analyses) > 1 else [])]
    blocks = [Table('Mean IoU over the classes', columns, rows)]
    num_images = len(analyses[0].result.img_paths)
    return [*blocks, Text(how_compared(samples, num_images)) if known else Note(f'No intervals: {samples}.')]


def _origins(analyses) -> list[Text]:
    return [Text(f'{one.name}: checkpoint {one.run.checkpoint.name} ({one.run.chosen}), predictions '
                 f'{one.result.about.origin}; config {one.run.config_file.name}; {len(one.result.img_paths)} images.')
            for one in analyses]


def _class_table(analyses, samples) -> Table:
    classes = analyses[0].result.classes
    if any(one.result.classes != classes for one in analyses):
        raise Unavailable('the runs have other classes')
    values = [one.result.iou() for one in analyses]
    pixels = analyses[0].result.confusion().sum(axis=1)
    several = len(analyses) > 1 and not isinstance(samples, Unavailable)
    rows = []
    for label, name in enumerate(classes):
        cells = [Cell(name), number(float(pixels[label] / max(pixels.sum(), 1))),
                 *(number(float(one[label]), share=True) for one in values)]
        if several:
            cells += [difference_cell(samples.difference(index, 0, np.s_[label])) for index in range(1, len(analyses))]
        rows.append(cells)
    columns = ['class', 'share of pixels', *(f'{one.name}: IoU' for one in analyses)]
    columns += [f'{one.name} − {analyses[0].name}' for one in analyses[1:]] if several else []
    return Table('IoU by class', columns, rows)


def _image_blocks(one: SegmentorAnalysis) -> list:
    order = [index for index in np.argsort(one.result.image_iou).tolist() if index in one.result.maps]
    return [Text('Left what is there, right what was predicted; pixels of no class are not coloured.'),
            _pictures(one, 'worst images', order[:SHOWN]),
            _pictures(one, 'best images', order[::-1][:SHOWN], folded=True)]


def _pictures(one: SegmentorAnalysis, title: str, chosen: Sequence[int], *, folded: bool = False) -> Pictures | Note:
    rows, missing = [], []
    for index in chosen:
        path = one.result.img_paths[index]
        image = pictures.read_image(path)
        if image is None:
            missing.append(path)
            continue
        name, value = path.rpartition('/')[2], one.result.image_iou[index]
        rows.append([Picture(f'{name}, {kind}', f'{kind} map: {_classes_in(one, labels)}',
                             pictures.as_data_url(pictures.draw_map(image, labels, one.result.palette)))
                     for kind, labels in zip(('annotated', f'predicted: mean IoU {value:.3f}'), one.result.maps[index],
                                             strict=True)])
    caption = f'{one.name}: {title}'
    if missing:
        return Note(f'{caption}: not available, {len(missing)} images cannot be read, the first is {missing[0]}.')
    return Pictures(caption, rows, folded) if rows else Note(f'{caption}: there are none.')


def _classes_in(one: SegmentorAnalysis, labels: np.ndarray) -> str:
    names = [one.result.classes[label] for label in np.unique(labels) if label < len(one.result.classes)]
    return ', '.join(names) or 'no class'
