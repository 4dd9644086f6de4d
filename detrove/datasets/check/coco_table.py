"""A COCO json file as columns: what all checks of it read, in a few seconds for a million annotations."""

import gc
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .finding import Finding, error, examples_of

_MISSING = object()


@dataclass(frozen=True)
class Images:
    """Columns of "images"; NaN where a width or height is missing or no number."""

    ids: list
    names: list[str]
    widths: np.ndarray
    heights: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Annotations:
    """Columns of "annotations".

    Attributes:
        ids: As they stand in the file, None where missing.
        images: (N,) place of the image in "images", -1 where there is none of that id.
        categories: (N,) place of the category in "categories", -1 likewise.
        image_ids, category_ids: As they stand in the file.
        boxes_xywh: (N, 4), NaN where a value is missing or no number.
        areas: (N,) NaN likewise.
        crowds: (N,) -1 where `iscrowd` is missing, -2 where it is neither 0 nor 1.
        masks: `summarise_mask` of each `segmentation`, None where there is none.
    """

    ids: list
    images: np.ndarray
    categories: np.ndarray
    image_ids: list
    category_ids: list
    boxes_xywh: np.ndarray
    areas: np.ndarray
    crowds: np.ndarray
    masks: list[str | tuple | None]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class CocoTable:
    file: Path
    images: Images
    annotations: Annotations
    category_ids: list
    category_names: list[str]

    def describe(self, annotation: int) -> str:
        """An annotation, with which a person finds it in the file."""
        place = self.annotations.images[annotation]
        name = self.images.names[place] if place >= 0 else f'image_id {self.annotations.image_ids[annotation]!r}'
        return f'annotation {self.annotations.ids[annotation]} of {name}'


def read_json(
    file: Path, where: str, *, needs_annotations: bool = True, object_hook: Callable | None = None
) -> tuple[dict | None, list[Finding]]:
    """The content of a COCO json file: `images`, `annotations` and `categories` as lists of dicts.

    Args:
        file: A file that exists.
        where: Key of the config that names it.
        needs_annotations: Whether a file without `annotations` is wrong; it is given an empty list otherwise.
        object_hook: As in `json.load`.

    Returns:
        The content, None where nothing further can be checked, and what is wrong.
    """
    try:
        with _no_garbage_collection(), file.open(encoding='utf-8') as stream:
            content = json.load(stream, object_hook=object_hook)
    except json.JSONDecodeError as problem:
        return None, [error('coco.not-json', where, f'{file} is not json: line {problem.lineno}, column {problem.colno}'
                            f': {problem.msg}', file=str(file), fix='copy, download or write the file again')]
    except (UnicodeDecodeError, OSError) as problem:
        return None, [error('coco.not-readable', where, f'{file} cannot be read: {problem}', file=str(file),
                            fix='copy, download or write the file again')]
    if not isinstance(content, dict):
        return None, [error('coco.not-coco', where, f'{file} is not COCO json: it holds a {type(content).__name__}, '
                            'not an object with "images", "annotations" and "categories"', file=str(file),
                            fix="write it in COCO's format; tools/convert_dataset.py does for VOC and YOLO")]
    if not needs_annotations:
        content.setdefault('annotations', [])
    findings = []
    for key in ('images', 'annotations', 'categories'):
        value = content.get(key, _MISSING)
        wrong = [i for i, entry in enumerate(value) if type(entry) is not dict] if isinstance(value, list) else None
        if wrong is None:
            found = f'has no {key!r}' if value is _MISSING else f'has {key!r} as {type(value).__name__}, not as list'
            keys = ', '.join(map(repr, list(content)[:6])) or 'none'
            findings.append(error('coco.not-coco', where, f'{file} is not COCO json: it {found} (its keys: {keys})',
                                  file=str(file), fix=f'write the list "{key}"; data/README.md shows what it needs'))
        elif wrong:
            findings.append(error('coco.not-coco', where, f'{file}: {len(wrong)} entries of "{key}" are not objects',
                                  count=len(wrong), examples=examples_of(f'{key}[{i}]' for i in wrong), file=str(file)))
    return (None if findings else content), findings


def with_short_masks(entry: dict) -> dict:
    """An `object_hook` that puts `summarise_mask` in the place of masks, which take most of the memory."""
    if 'segmentation' in entry:
        entry['segmentation'] = summarise_mask(entry['segmentation'])
    return entry


def summarise_mask(mask: Any) -> str | tuple | None:
    """The size (height, width) that run lengths state, what is wrong with a mask, '' for a good one, None for none."""
    if not mask:
        return None
    if isinstance(mask, dict):
        size = mask.get('size')
        good = isinstance(mask.get('counts'), (str, list)) and isinstance(size, list) and len(size) == 2
        return tuple(size) if good else 'bad run lengths: no "counts" or no "size"'
    if not isinstance(mask, list) or not all(isinstance(polygon, list) for polygon in mask):
        return 'bad polygons: not a list of lists of numbers'
    some = any(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in mask)  # others are left out when loaded
    return '' if some else 'bad polygons: fewer than three points'


def missing_keys(entries: Sequence[Mapping], keys: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Each key that entries lack or have as null, with the places of those entries."""
    for key in keys:
        places = [place for place, entry in enumerate(entries) if entry.get(key) is None]
        if places:
            yield key, places


def to_table(file: Path, content: Mapping, *, image_names: Sequence[str]) -> CocoTable:
    """Columns of a content that `read_json` returned, `with_short_masks`. What is missing stays a gap in them.

    Args:
        file: Where it comes from.
        content: Lists of dicts.
        image_names: File of each image, below the image folder.
    """
    images, annotations, categories = content['images'], content['annotations'], content['categories']
    image_ids = [_hashable(image.get('id')) for image in images]
    category_ids = [_hashable(category.get('id')) for category in categories]
    return CocoTable(
        file,
        Images(image_ids, list(image_names), _numbers([image.get('width') for image in images]),
               _numbers([image.get('height') for image in images])),
        Annotations(
            ids=[_hashable(entry.get('id')) for entry in annotations],
            images=_places([entry.get('image_id') for entry in annotations], image_ids),
            categories=_places([entry.get('category_id') for entry in annotations], category_ids),
            image_ids=[entry.get('image_id') for entry in annotations],
            category_ids=[entry.get('category_id') for entry in annotations],
            boxes_xywh=_boxes([entry.get('bbox') for entry in annotations]),
            areas=_numbers([entry.get('area') for entry in annotations]),
            crowds=_crowds([entry.get('iscrowd', -1) for entry in annotations]),
            masks=[entry.get('segmentation') for entry in annotations],
        ),
        category_ids,
        [str(category.get('name')) for category in categories],
    )


def _hashable(value: Any):
    return value if isinstance(value, (int, str, float, type(None))) else repr(value)


def _places(wanted: list, ids: list) -> np.ndarray:
    place_of = {one: place for place, one in enumerate(ids) if one is not None}
    return np.fromiter((place_of.get(_hashable(one), -1) for one in wanted), np.int64, len(wanted))


def _numbers(values: list) -> np.ndarray:
    if set(map(type, values)) - {int, float}:
        values = [value if type(value) in (int, float) else np.nan for value in values]
    return np.array(values, np.float64)


def _boxes(values: list) -> np.ndarray:
    nothing = [np.nan] * 4
    rows = [value if type(value) is list and len(value) == 4 else nothing for value in values]
    return _numbers(list(itertools.chain.from_iterable(rows))).reshape(-1, 4)


def _crowds(values: list) -> np.ndarray:
    code = {0: 0, 1: 1, -1: -1}  # False and True are 0 and 1
    return np.fromiter((code.get(_hashable(value), -2) for value in values), np.int64, len(values))


@contextmanager
def _no_garbage_collection():
    """Collections while millions of small objects are made take longer than the reading."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
