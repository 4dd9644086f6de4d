"""Checks of a COCO json file: keys, ids, boxes, areas, crowds, masks, and images without objects."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from detrove.datasets.coco import CocoDetection

from .coco_table import CocoTable, missing_keys
from .finding import Finding, error, examples_of, note, warning
from .source import DataSource

_OVERHANG_PX = 1.0  # COCO's own boxes reach over the border by rounding
_AREA_SLACK = 1.02
_CORNER_SHARE = 0.3  # of boxes outside their image, from which on they are taken for [x1, y1, x2, y2]


def check_keys(source: DataSource, content: dict, file: str) -> Iterator[Finding]:
    """Keys that entries lack, with what needs them."""
    where = f'{source.path}.ann_file'
    ours = isinstance(source.dataset, CocoDetection)
    name_key = 'coco_url' if is_lvis(source) else 'file_name'
    needed = {'images': ('id', name_key, 'width', 'height'), 'categories': ('id', 'name'),
              'annotations': ('image_id', 'category_id')}
    for name, keys in needed.items():
        for key, places in missing_keys(content[name], keys):
            kind = 'coco.missing-annotation-key' if name == 'annotations' else 'coco.missing-key'
            yield error(kind, where, f'entries of "{name}" lack {key!r}', len(places),
                        examples_of(f'{name}[{place}]' for place in places), file, f'write "{key}" into each')
    # CocoDetection trains without these, and CocoEvaluation fills in area and iscrowd.
    metrics = {str(evaluator.get('type')).rpartition('.')[2] for _, evaluator in source.evaluators}
    foreign = bool(metrics - {'CocoEvaluation'})
    breaks_without = {'id': not ours or bool(metrics), 'area': not ours or foreign, 'iscrowd': 'CocoMetric' in metrics}
    for key, breaks in breaks_without.items():
        for _, places in missing_keys(content['annotations'], (key,)):
            make = error if breaks else note
            users = [] if ours or key == 'iscrowd' else [type(source.dataset).__name__]
            need = f', which {" and ".join(users + sorted(metrics))} needs' if breaks else ''
            yield make('coco.missing-annotation-key', where, f'annotations lack {key!r}{need}', len(places),
                       examples_of(f'annotations[{place}]' for place in places), file,
                       f'write "{key}" into each' if breaks else '')


def check_table(source: DataSource, table: CocoTable) -> Iterator[Finding]:
    """Everything about the columns of a file."""
    if not len(table.images):
        yield error('coco.no-images', f'{source.path}.ann_file', f'{table.file} lists no images', file=str(table.file))
        return
    for check in (_check_image_sizes, _check_ids, _check_references, _check_boxes, _check_areas, _check_crowds,
                  _check_masks, _check_objects):
        yield from check(source, table)


def is_lvis(source: DataSource) -> bool:
    return 'LVIS' in type(source.dataset).__name__


def _check_image_sizes(source: DataSource, table: CocoTable) -> Iterator[Finding]:
    widths, heights = table.images.widths, table.images.heights
    with np.errstate(invalid='ignore'):
        wrong = np.flatnonzero(~((widths >= 1) & (heights >= 1)))
    if len(wrong):
        yield error('coco.image-size', f'{source.path}.ann_file', 'width and height of images are not numbers of at '
                    'least 1', len(wrong), examples_of(table.images.names[place] for place in wrong), str(table.file),
                    'write the size of the image file in pixels')


def _check_ids(source: DataSource, table: CocoTable) -> Iterator[Finding]:
    where, file = f'{source.path}.ann_file', str(table.file)
    for name, ids in (('image', table.images.ids), ('annotation', table.annotations.ids),
                      ('category', table.category_ids)):
        twice = _repeated(ids)
        if twice:
            yield error(f'coco.duplicate-{name}-id', where, f'{name} ids stand for several entries; of these, COCO '
                        'tools keep the last', sum(twice.values()) - len(twice),
                        examples_of(f'id {one}: {count} times' for one, count in twice.items()), file,
                        f'number the {name} entries anew')
    twice = _repeated(table.images.names)
    if twice:
        yield warning('coco.duplicate-file-name', where, 'file names are listed as several images', len(twice),
                      examples_of(f'{name}: {count} times' for name, count in twice.items()), file,
                      'list each image once, with all its annotations')
    zero = [place for place, one in enumerate(table.annotations.ids) if one == 0]
    if zero and source.evaluators:
        yield warning('coco.annotation-id-zero', where, 'an annotation has the id 0, which the COCO tools take for "no '
                      'object": it is never counted as found', len(zero), examples_of(map(table.describe, zero)), file,
                      'number annotations from 1')


def _repeated(values: list) -> dict:
    values = [value for value in values if value is not None]
    if len(set(values)) == len(values):
        return {}
    return {value: count for value, count in Counter(values).items() if count > 1}


def _check_references(source: DataSource, table: CocoTable) -> Iterator[Finding]:
    annotations = table.annotations
    for name, places, wanted, ids in (
        ('image', annotations.images, annotations.image_ids, table.images.ids),
        ('category', annotations.categories, annotations.category_ids, table.category_ids),
    ):
        unknown = [place for place in np.flatnonzero(places < 0) if wanted[place] is not None]
        if unknown:
            in_file, in_annotations = _type_names(ids), _type_names([wanted[place] for place in unknown])
            hint = '' if in_file & in_annotations or not ids else (
                f' (ids of "{_plural(name)}" are {" and ".join(sorted(in_file))}, those in annotations are '
                f'{" and ".join(sorted(in_annotations))})')
            yield error(f'coco.unknown-{name}', f'{source.path}.ann_file', f'annotations name {name} ids that '
                        f'"{_plural(name)}" does not list{hint}', len(unknown),
                        examples_of(f'annotation {annotations.ids[place]}: {name}_id {wanted[place]!r}'
                                    for place in unknown), str(table.file),
                        f'add these to "{_plural(name)}", or leave the annotations out')


def _plural(name: str) -> str:
    return {'category': 'categories'}.get(name, f'{name}s')


def _type_names(values: list) -> set[str]:
    return {'texts' if isinstance(value, str) else 'numbers' for value in values}


def _check_boxes(source: DataSource, table: CocoTable) -> Iterator[Finding]:
    where, file, boxes = f'{source.path}.ann_file', str(table.file), table.annotations.boxes_xywh
    x, y, width, height = boxes.T
    finite = np.isfinite(boxes).all(1)
    known = table.annotations.images >= 0
    image_width = np.where(known, table.images.widths[table.annotations.images], np.nan)
    image_height = np.where(known, table.images.heights[table.annotations.images], np.nan)

    def found(kind, mask, message, fix, make=error):
        places = np.flatnonzero(mask)
        if len(places):
            yield make(f'coco.{kind}', where, message, len(places), examples_of(
                f'{table.describe(place)}: {_rounded(boxes[place])}{_size(image_width[place], image_height[place])}'
                for place in places), file, fix)

    yield from found('box-not-a-number', ~finite, 'boxes are missing, or are not four finite numbers',
                     'write bbox as [x, y, width, height] in pixels, or leave the annotation out')
    with np.errstate(invalid='ignore'):
        negative = finite & ((width < 0) | (height < 0))
        zero = finite & ~negative & ((width == 0) | (height == 0))
        thin = finite & ~negative & ~zero & ((width < 1) | (height < 1))
        solid = finite & ~negative & ~zero
        outside = solid & ((x >= image_width) | (y >= image_height) | (x + width <= 0) | (y + height <= 0))
        over = np.maximum.reduce([-x, -y, x + width - image_width, y + height - image_height])
        overhanging = solid & ~outside & (over > _OVERHANG_PX)
        beyond = outside | overhanging
        as_corners = (width > x) & (height > y) & (width <= image_width + 1) & (height <= image_height + 1)
    evaluated = '; evaluation counts them as objects that nobody finds' if source.evaluators else ''
    yield from found('box-negative', negative, 'boxes have a negative width or height',
                     'write bbox as [x, y, width, height] with the upper left corner first')
    yield from found('box-empty', zero, f'boxes have no width or no height; training leaves them out{evaluated}',
                     'leave these annotations out of the file', warning)
    yield from found('box-thin', thin, f'boxes are thinner than a pixel; training leaves them out{evaluated}', '', note)
    if solid.any() and known.any() and (boxes[solid] <= 1).all() and np.nanmax(image_width) > 1:
        yield from found('box-normalised', solid, 'all boxes lie within 0 and 1: they are parts of the image, not '
                         'pixels', 'multiply by width and height of the image; tools/convert_dataset.py reads YOLO')
    elif beyond.sum() > _CORNER_SHARE * solid.sum() and as_corners[solid].all():
        yield from found('box-corners', beyond, 'boxes reach outside their image, and all would fit as [x1, y1, x2, '
                         'y2]: COCO has [x, y, width, height]', 'subtract x1 and y1 from the last two numbers')
    else:
        yield from found('box-outside', outside, 'boxes lie wholly outside their image',
                         'correct the boxes, or width and height in "images"')
        yield from found('box-overhanging', overhanging, 'boxes reach over the border of their image by more than a '
                         'pixel; they are clipped', 'clip them in the file if that is not meant', warning)
    yield from found('box-repeated', _same_box_again(table) & solid, 'boxes of one class are annotated twice in an '
                     'image, to the pixel', 'leave one of each out', warning)


def _same_box_again(table: CocoTable) -> np.ndarray:
    """Whether an annotation has the image, category, box and crowd flag of an earlier one."""
    # NaN equals nothing, not even another NaN; broken boxes are a finding of their own
    columns = np.column_stack([table.annotations.images, table.annotations.categories, table.annotations.crowds,
                               np.nan_to_num(table.annotations.boxes_xywh)])
    again = np.ones(len(columns), bool)
    again[np.unique(columns, axis=0, return_index=True)[1] if len(columns) else []] = False
    return again


def _rounded(values: np.ndarray) -> str:
    return '[' + ', '.join(f'{value:.6g}' for value in values) + ']'


def _size(width: float, height: float) -> str:
    return '' if np.isnan(width) or np.isnan(height) else f' in {width:.6g} x {height:.6g}'


def _check_areas(source: DataSource, table: CocoTable) -> Iterator[Finding]:
    areas, boxes = table.annotations.areas, table.annotations.boxes_xywh
    with np.errstate(invalid='ignore'):
        box_areas = boxes[:, 2] * boxes[:, 3]
        solid = (boxes[:, 2] >= 1) & (boxes[:, 3] >= 1)
        nothing, larger = solid & (areas <= 0), solid & (areas > box_areas * _AREA_SLACK + 1)
    leaves_out = '' if isinstance(source.dataset, CocoDetection) else \
        f'; {type(source.dataset).__name__} leaves these objects out'
    for kind, mask, message in (
        ('area-nothing', nothing, f'objects have an area of 0 or less, their boxes do not{leaves_out}'),
        ('area-too-large', larger, 'objects have an area larger than their box; AP of small, medium and large objects '
         'goes by it'),
    ):
        places = np.flatnonzero(mask)
        if len(places):
            yield warning(f'coco.{kind}', f'{source.path}.ann_file', message, len(places), examples_of(
                f'{table.describe(place)}: area {areas[place]:.6g}, box {box_areas[place]:.6g}' for place in places),
                str(table.file), 'write area as that of the mask, or of the box where there is none')


def _check_crowds(source: DataSource, table: CocoTable) -> Iterator[Finding]:
    crowds = table.annotations.crowds
    wrong = np.flatnonzero(crowds == -2)
    if len(wrong):
        yield error('coco.crowd-value', f'{source.path}.ann_file', 'iscrowd is neither 0 nor 1', len(wrong),
                    examples_of(map(table.describe, wrong)), str(table.file), 'write 0, or 1 for a group of objects')
    if len(crowds) and (crowds == 1).mean() > 0.5:
        yield warning('coco.crowds', f'{source.path}.ann_file', f'{(crowds == 1).sum()} of {len(crowds)} objects are '
                      'crowds, which are neither trained on nor counted', int((crowds == 1).sum()),
                      file=str(table.file), fix='set iscrowd to 0 for single objects')


def _check_masks(source: DataSource, table: CocoTable) -> Iterator[Finding]:
    if not source.wants_masks:
        return
    annotations, sizes_hw = table.annotations, np.column_stack([table.images.heights, table.images.widths])
    problems: dict[str, list[int]] = {}
    for place, mask in enumerate(annotations.masks):
        if mask is None:
            problems.setdefault('no segmentation', []).append(place)
        elif isinstance(mask, str) and mask:
            problems.setdefault(mask, []).append(place)
        elif mask and annotations.images[place] >= 0 and mask != tuple(sizes_hw[annotations.images[place]]):
            problems.setdefault('run lengths of another size: "size" is not that of the image', []).append(place)
    for problem, places in problems.items():
        kind = problem.partition(':')[0].replace(' ', '-')
        fix = 'annotate masks, or use a detection config' if kind == 'no-segmentation' else \
            'correct or leave out these annotations'
        yield error(f'coco.mask-{kind}', f'{source.path}.ann_file', f'masks are asked for, and annotations have '
                    f'{problem}', len(places), examples_of(map(table.describe, places)), str(table.file), fix)


def _check_objects(source: DataSource, table: CocoTable) -> Iterator[Finding]:
    if not source.needs_annotations:
        return
    where, annotations = f'{source.path}.ann_file', table.annotations
    counted = annotations.images[(annotations.images >= 0) & (annotations.categories >= 0)]
    empty = np.flatnonzero(np.bincount(counted, minlength=len(table.images)) == 0)
    if len(empty) == len(table.images):
        yield error('coco.no-objects', where, f'none of the {len(table.images)} images has an object', len(empty),
                    file=str(table.file), fix='annotate objects, or name another ann_file')
    elif len(empty):
        left_out = source.trains and (source.settings.get('filter_cfg') or {}).get('filter_empty_gt')
        use = 'left out of training (filter_empty_gt)' if left_out else 'used as they are'
        yield note('coco.images-without-objects', where, f'images without objects, which is ordinary; they are {use}',
                   len(empty), examples_of(table.images.names[place] for place in empty), str(table.file))
