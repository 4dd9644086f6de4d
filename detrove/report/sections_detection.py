"""Sections about what a detector finds, as numbers."""

from collections.abc import Sequence

import numpy as np

from .analysis import DetectorAnalysis
from .average_precision import mean_over
from .blocks import Cell, Section, Table, Text, count, number, section
from .bootstrap import NUM_RESAMPLES, Bootstrap, bootstrap
from .intervals import difference_cell, how_compared, interval_text
from .unavailable import Unavailable

_PARTS = {'AP': (), 'AP50': np.s_[:, 0], 'AP75': np.s_[:, 5]}


def compare(analyses: Sequence[DetectorAnalysis], *, num_resamples: int = NUM_RESAMPLES) -> Bootstrap:
    """The same resamples of the images for every run.

    Raises:
        Unavailable: if the runs were not measured on the same images, or there are too few.
    """
    first = analyses[0]
    for one in analyses[1:]:
        if not first.truth.is_same_as(one.truth):
            raise Unavailable(f'{first.name} and {one.name} were measured on other images or classes '
                              f'({first.truth.source}, {one.truth.source}), so that they cannot be compared')
    if len(first.truth.image_ids) < 2:
        raise Unavailable('intervals need two images at least')
    return bootstrap([one.resampled for one in analyses], len(first.truth.image_ids), num_resamples=num_resamples)


def overview(analyses: Sequence[DetectorAnalysis], samples: Bootstrap | Unavailable) -> Section:
    """AP of every run, with intervals, and the differences from the first."""
    makers = [lambda: _ap_table(analyses, samples), lambda: _origins(analyses)]
    if len(analyses) > 1:
        makers.insert(1, lambda: _difference_blocks(analyses, samples))
    return section('overview', 'Overview', *makers)


def by_part(analyses: Sequence[DetectorAnalysis], samples: Bootstrap | Unavailable) -> Section:
    """AP by class, size and crowding."""
    return section('parts', 'AP by class, size and crowding', lambda: _class_table(analyses, samples),
                   lambda: _size_table(analyses),
                   lambda: _group_tables(analyses, 'by_objects_per_image', 'objects in the image', 'images',
                                         'AP of images by how many objects they have', ('AP', 'AP50')),
                   lambda: _group_tables(analyses, 'by_overlap', 'IoU with the nearest other box', 'objects',
                                         'Objects found, by how much their box overlaps another object\'s; '
                                         'of up to 100 detections per class, whatever their score',
                                         ('found at IoU 0.5', 'at 0.75')))


def _ap_table(analyses, samples) -> Table:
    rows = []
    for index, one in enumerate(analyses):
        values = {'AP': one.summary.ap, 'AP50': one.summary.ap50, 'AP75': one.summary.ap75}
        if isinstance(samples, Unavailable):
            cells = [number(value) for value in values.values()]
        else:
            cells = [Cell(interval_text(samples.interval(index, _PARTS[name])), value)
                     for name, value in values.items()]
        rows.append([Cell(one.name), *cells, *(number(value) for value in one.summary.by_size.values())])
    kind = 'boxes' if analyses[0].iou_type == 'bbox' else 'masks'
    return Table(f'COCO AP of {kind}, up to 100 detections per image and class',
                 ['run', 'AP', 'AP50', 'AP75', 'small', 'medium', 'large'], rows)


def _difference_blocks(analyses, samples) -> list:
    if isinstance(samples, Unavailable):
        raise samples
    rows, verdicts = [], []
    for index, one in enumerate(analyses[1:], start=1):
        differences = {name: samples.difference(index, 0, part) for name, part in _PARTS.items()}
        rows.append([Cell(one.name), *map(difference_cell, differences.values())])
        change = differences['AP']
        if change.excludes_zero:
            better, worse = (one.name, analyses[0].name) if change.value > 0 else (analyses[0].name, one.name)
            verdicts.append(f'{better} is better than {worse} on these images: the interval of the difference excludes '
                            '0.')
        else:
            verdicts.append(f'{one.name} and {analyses[0].name} cannot be told apart with these images: the interval '
                            'of the difference includes 0.')
    num_images = len(analyses[0].truth.image_ids)
    return [Table(f'Difference from {analyses[0].name}', ['run', *_PARTS], rows), *map(Text, verdicts),
            Text(how_compared(samples, num_images))]


def _origins(analyses) -> list:
    blocks = []
    for one in analyses:
        run, truth = one.run, one.truth
        weights = f'checkpoint {run.checkpoint.name} ({run.chosen}), ' if run.checkpoint else ''
        blocks.append(Text(f'{one.name}: {weights}predictions {one.predictions.origin}; config {run.config_file.name}; '
                           f'{len(truth.image_ids)} images with {int((~truth.crowd).sum())} objects of '
                           f'{len(truth.classes)} classes from {truth.source}.'))
        said = {name: value for name, value in one.predictions.metrics.items() if name.endswith('mAP')}
        if said:
            values = ', '.join(f'{name} {value:.4f}' for name, value in said.items())
            blocks.append(Text(f'{one.name}: the evaluator of the config gave {values}.'))
    return blocks


def _class_table(analyses, samples) -> Table:
    truth = analyses[0].truth
    several = len(analyses) > 1 and not isinstance(samples, Unavailable)
    columns = ['class', 'objects']
    for one in analyses:
        prefix = f'{one.name}: ' if len(analyses) > 1 else ''
        columns += [f'{prefix}AP', *([] if len(analyses) > 1 else ['AP50', 'AP75'])]
    if several:
        columns += [f'{one.name} − {analyses[0].name}' for one in analyses[1:]]
    rows = []
    for label, name in enumerate(truth.classes):
        cells = [Cell(name), count(int(((truth.labels == label) & ~truth.crowd).sum()))]
        for one in analyses:
            values = one.summary.by_class[label]
            cells.append(number(float(mean_over(values)), share=True))
            if len(analyses) == 1:
                cells += [number(float(values[0]), share=True), number(float(values[5]), share=True)]
        if several:
            cells += [difference_cell(samples.difference(index, 0, np.s_[label])) for index in range(1, len(analyses))]
        rows.append(cells)
    return Table('AP by class', columns, rows)


def _size_table(analyses) -> Table:
    truth = analyses[0].truth
    limits = {'small': (0, 32**2), 'medium': (32**2, 96**2), 'large': (96**2, np.inf)}
    rows = []
    for size, (low, high) in limits.items():
        number_of = int(((truth.areas >= low) & (truth.areas < high) & ~truth.crowd).sum())
        values = (number(one.summary.by_size[size], share=True) for one in analyses)
        rows.append([Cell(size), count(number_of), *values])
    return Table('AP by area of the object: small up to 32², medium up to 96² pixels of the original image',
                 ['size', 'objects', *(f'{one.name}: AP' for one in analyses)], rows)


def _group_tables(analyses, attribute: str, head: str, unit: str, caption: str, values: Sequence[str]) -> Table:
    groups = [getattr(one, attribute) for one in analyses]
    if any([group.name for group in one] != [group.name for group in groups[0]] for one in groups):
        raise Unavailable(f'{caption}: the runs were measured on other images')
    rows = []
    for parts in zip(*groups, strict=True):
        cells = (number(value, share=True) for part in parts for value in part.values)
        rows.append([Cell(parts[0].name), count(parts[0].count), *cells])
    columns = [f'{one.name}: {value}' if len(analyses) > 1 else value for one in analyses for value in values]
    return Table(caption, [head, unit, *columns], rows)
