"""COCO panoptic: json of segments against the PNG files with their ids."""

import contextlib
import io
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from .capacity import check_capacity
from .coco_table import missing_keys
from .files import Folders, check_exist
from .finding import Finding, error, examples_of, warning
from .images import ImageRecord, in_threads, sample
from .source import DataSource, Track

_SEGMENT_KEYS = ('id', 'category_id', 'bbox', 'area')


def check_keys(source: DataSource, content: dict, file: str) -> Iterator[Finding]:
    """Keys that mmdet's CocoPanopticDataset and its metric read."""
    where = f'{source.path}.ann_file'
    for name, keys in (('images', ('id', 'file_name', 'width', 'height')), ('categories', ('id', 'name', 'isthing')),
                       ('annotations', ('image_id', 'segments_info'))):
        for key, places in missing_keys(content[name], keys):
            hint = '; it seems to be a file of instances' if key == 'segments_info' and any(
                'bbox' in entry for entry in content[name][:1]) else ''
            yield error('panoptic.missing-key', where, f'entries of "{name}" lack {key!r}{hint}', len(places),
                        examples_of(f'{name}[{place}]' for place in places), file,
                        'name the panoptic_*.json file' if hint else f'write "{key}" into each')
    for key in _SEGMENT_KEYS:
        lacking = [f'segments_info[{i}] of image {annotation["image_id"]}' for annotation in content['annotations']
                   for i, segment in enumerate(annotation.get('segments_info') or ()) if segment.get(key) is None]
        if lacking:
            yield error('panoptic.missing-key', where, f'segments lack {key!r}', len(lacking), examples_of(lacking),
                        file, f'write "{key}" into each')


def check_content(source: DataSource, content: dict, file: str, model) -> Iterator[Finding]:
    """Ids, references, classes, boxes and how many segments an image has."""
    where = f'{source.path}.ann_file'
    images = {image['id']: image for image in content['images']}
    categories = {category['id']: category for category in content['categories']}
    annotations = content['annotations']
    for name, ids in (('image', [image['id'] for image in content['images']]),
                      ('category', [category['id'] for category in content['categories']]),
                      ('annotated image', [annotation['image_id'] for annotation in annotations])):
        twice = [f'id {one}: {count} times' for one, count in Counter(ids).items() if count > 1]
        if twice:
            yield error(f'panoptic.duplicate-{name.replace(" ", "-")}', where, f'{name} ids stand twice', len(twice),
                        examples_of(twice), file, 'leave one of each out')
    segments = [(annotation['image_id'], segment) for annotation in annotations
                for segment in annotation['segments_info']]
    repeated = [f'image {image_id}: segment {one}' for image_id, one in _repeated_in_image(annotations)]
    unknown_images = [f'image_id {one["image_id"]!r}' for one in annotations if one['image_id'] not in images]
    unknown_categories = [f'image {image_id}, segment {segment["id"]}: category_id {segment["category_id"]!r}'
                          for image_id, segment in segments if segment['category_id'] not in categories]
    boxes = [f'image {image_id}, segment {segment["id"]}: {segment["bbox"]}' for image_id, segment in segments
             if image_id in images and not _is_inside(segment['bbox'], images[image_id])]
    for make, kind, problems, message in (
        (error, 'unknown-image', unknown_images, 'annotations name images that "images" does not list'),
        (error, 'unknown-category', unknown_categories, 'segments name categories that "categories" does not list'),
        (error, 'duplicate-segment', repeated, 'segment ids stand twice in an image'),
        (warning, 'box', boxes, 'boxes of segments are no four numbers, empty or outside their image; masks are not '
         'made from them'),
    ):
        if problems:
            yield make(f'panoptic.{kind}', where, message, len(problems), examples_of(problems), file,
                       'correct the file')
    yield from _check_classes(source, content, file)
    numbers = np.array([len(annotation['segments_info']) for annotation in annotations])
    yield from check_capacity(source, model, numbers, lambda place: f'image {annotations[place]["image_id"]}',
                              what='segments')


def _repeated_in_image(annotations: Sequence[dict]) -> Iterator[tuple]:
    for annotation in annotations:
        ids = [segment['id'] for segment in annotation['segments_info']]
        if len(set(ids)) < len(ids):
            yield from ((annotation['image_id'], one) for one, count in Counter(ids).items() if count > 1)


def _is_inside(box, image: dict) -> bool:
    if not isinstance(box, list) or len(box) != 4 or {*map(type, box)} - {int, float}:
        return False
    x, y, width, height = box
    return width > 0 and height > 0 and min(x, y) >= -1 and x + width <= image['width'] + 1 \
        and y + height <= image['height'] + 1


def _check_classes(source: DataSource, content: dict, file: str) -> Iterator[Finding]:
    where = f'{source.path}.metainfo'
    for key, is_thing in (('thing_classes', True), ('stuff_classes', False)):
        in_file = [one['name'] for one in content['categories'] if bool(one['isthing']) == is_thing]
        in_config = list(source.dataset.metainfo.get(key) or ())
        absent = [name for name in in_config if name not in in_file]
        if absent:
            yield error('classes.absent', f'{where}.{key}', f'{key} of the config ({len(in_config)}) are not among '
                        f'those of {file} ({len(in_file)}: {", ".join(in_file[:8])})', len(absent),
                        examples_of(absent), file, f'set {where}.{key} and classes to names of the file')
    in_file = _names_in_order(source, content)
    wanted = list(source.classes or ())
    if sorted(in_file) == sorted(wanted) and in_file != wanted:
        wrong = [f'{given} is read as {taken}' for given, taken in zip(in_file, wanted, strict=True) if given != taken]
        yield error('classes.order', f'{where}.classes', f'{type(source.dataset).__name__} numbers its labels in '
                    'another order than classes, so that segments get the names of other classes', len(wrong),
                    examples_of(wrong), file, 'order the categories of the file as metainfo.classes has them')


def _names_in_order(source: DataSource, content: dict) -> list[str]:
    """Names of the labels, in the order in which the data set's own reader numbers them."""
    with contextlib.redirect_stdout(io.StringIO()):  # it says that it makes an index
        reader = source.dataset.COCOAPI()
        reader.dataset = {'images': [], 'annotations': [], 'categories': content['categories']}
        reader.createIndex()
    name_of = {category['id']: category['name'] for category in content['categories']}
    return [name_of[one] for one in reader.get_cat_ids(cat_names=list(source.classes or ()))]


def records_of(source: DataSource, content: dict) -> list[tuple[ImageRecord, str | None, dict]]:
    """Image, PNG and annotation of each image, by the names that the data set gives them."""
    annotation_of = {annotation['image_id']: annotation for annotation in content['annotations']}
    records = []
    for image in content['images']:
        parsed = source.dataset.parse_data_info(
            {'raw_img_info': {**image, 'img_id': image['id']}, 'raw_ann_info': []})
        records.append((ImageRecord(parsed['img_path'], (image['width'], image['height'])), parsed['seg_map_path'],
                        annotation_of.get(image['id'], {'segments_info': []})))
    return records


def check_pngs(
    source: DataSource, records: Sequence, folders: Folders, *, number: int | None, workers: int, track: Track
) -> Iterator[Finding]:
    """PNG files: all there; of a sample, sizes, ids and areas against the json."""
    where = f'{source.path}.data_prefix.seg'
    jobs = [(png, record.size_wh, annotation) for record, png, annotation in records if png]
    if not jobs:
        yield error('panoptic.no-pngs', where, 'no folder of panoptic PNG files is named', fix=f'set {where}')
        return
    yield from check_exist([png for png, _, _ in jobs], folders, kind='panoptic.no-png', what='panoptic PNG files',
                           where=where, data_root=source.dataset.data_root,
                           fix='unpack the archive of PNG files inside the annotations too')
    missing = set(folders.missing([png for png, _, _ in jobs]))
    jobs = sample([job for job in jobs if job[0] not in missing], number)
    problems: dict[str, list[str]] = {}
    for (png, _, _), found in zip(jobs, in_threads(_compare, jobs, workers=workers, track=track,
                                                   title=f'panoptic PNG files of {source.path}'), strict=True):
        for kind, text in found:
            problems.setdefault(kind, []).append(f'{png}: {text}')
    for kind, texts in problems.items():
        make = warning if kind == 'other-area' else error  # converters count what others cover
        yield make(f'panoptic.{kind}', where, f'panoptic PNG files {_MESSAGES[kind]} (of {len(jobs):,} looked at)',
                    len(texts), examples_of(texts), fix='use json and PNG files of the same version')


_MESSAGES = {
    'unreadable': 'cannot be read to their end',
    'other-size': 'have another size than the json says',
    'not-rgb': 'are not RGB: ids are red + 256 green + 65536 blue',
    'unlisted-ids': 'have pixels of ids that segments_info does not list',
    'absent-ids': 'have no pixel of segments that segments_info lists',
    'other-area': 'have segments of another area than the json says',
}


def _compare(job: tuple[str, tuple, dict]) -> list[tuple[str, str]]:
    """Kind and text of each difference between a PNG file and its entry in the json."""
    png, size_wh, annotation = job
    try:
        with Image.open(png) as image:
            mode, found_wh, values = image.mode, image.size, np.asarray(image)
    except Exception as problem:  # decoders raise many kinds
        return [('unreadable', str(problem))]
    if mode not in ('RGB', 'RGBA'):
        return [('not-rgb', mode)]
    if found_wh != tuple(size_wh):
        return [('other-size', f'{found_wh[0]} x {found_wh[1]}, json {size_wh[0]} x {size_wh[1]}')]
    ids, counts = np.unique(values[..., :3].astype(np.int64) @ np.array([1, 256, 65536]), return_counts=True)
    area_of = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    area_of.pop(0, None)  # no segment
    listed = {segment['id']: segment['area'] for segment in annotation['segments_info']}
    differences = [
        ('unlisted-ids', sorted(area_of.keys() - listed.keys())),
        ('absent-ids', sorted(listed.keys() - area_of.keys())),
        ('other-area', [f'{one}: {area_of[one]}, json {area}' for one, area in listed.items()
                        if one in area_of and area_of[one] != area]),
    ]
    return [(kind, f'{found[:3]}') for kind, found in differences if found]
