"""COCO's annotation files read into columns, checked."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .json_bytes import from_json, msgspec

LAYOUT_HINT = (
    'Expected layout: <data_root>/<ann_file> and <data_root>/<data_prefix["img"]>/<file_name>; see '
    'data/README.md for each data set. tools/convert_dataset.py turns VOC and YOLO folders into it.'
)
FIELDS = dict(
    images={'id', 'file_name', 'width', 'height'},
    annotations={'image_id', 'category_id', 'bbox'},
    categories={'id', 'name'},
)

if msgspec is not None:

    class _Annotation(msgspec.Struct, gc=False):
        image_id: int | str
        category_id: int | str
        bbox: tuple[float, float, float, float]
        iscrowd: Any = 0
        ignore: Any = 0
        segmentation: msgspec.Raw = msgspec.Raw()  # outlines stay text: most of the file, and of the time to parse it

    class _Content(msgspec.Struct):
        images: list[dict]
        categories: list[dict]
        annotations: list[_Annotation]


@dataclass
class CocoFile:
    """The content of a file; the last five have one entry per annotation, in the file's order.

    Attributes:
        images, categories: entries of the file.
        image_ids, category_ids: of the annotations.
        boxes_xywh: four numbers each.
        ignored: crowds, and objects with `ignore`.
        segmentations: the value of the file or its JSON (`msgspec.Raw`); None for objects without.
    """

    images: list[dict]
    categories: list[dict]
    image_ids: Sequence
    category_ids: Sequence
    boxes_xywh: Sequence
    ignored: Sequence[bool]
    segmentations: Sequence


def read_coco_file(path: str | Path, *, source: str, needs_annotations: bool) -> CocoFile:
    """Read an annotation file.

    Args:
        path: a local file.
        source: its name in messages.
        needs_annotations: a file without "annotations" is an error.

    Raises:
        ValueError: it is not COCO json, lists no images, lists an id twice, or an entry lacks a field or has one of
            another kind than COCO's.
    """
    data = Path(path).read_bytes()
    if msgspec is not None:
        try:
            content = msgspec.json.decode(data, type=_Content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # looked at below, entry by entry
        else:
            _check_entries(dict(images=content.images, categories=content.categories), source)
            return _columns(content, source)
    try:
        content = from_json(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{source} is not COCO json: {error}. {LAYOUT_HINT}') from error
    needed = ('images', 'annotations', 'categories') if needs_annotations else ('images', 'categories')
    missing = [key for key in needed if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        found = f'the keys {list(content)[:8]}' if isinstance(content, dict) else f'a {type(content).__name__}'
        raise ValueError(f'{source} is not COCO json: it holds {found}, but lacks the lists {missing}. {LAYOUT_HINT}')
    _check_entries(content, source)
    annotations = content.get('annotations') or []
    for key in ('iscrowd', 'ignore'):
        _check_flags(key, {type(x.get(key)) for x in annotations}, source)
    return CocoFile(
        images=content['images'], categories=content['categories'],
        image_ids=[x['image_id'] for x in annotations],
        category_ids=[x['category_id'] for x in annotations],
        boxes_xywh=[_four_numbers(x, source) for x in annotations],
        ignored=[bool(x.get('iscrowd') or x.get('ignore')) for x in annotations],
        segmentations=[x.get('segmentation') or None for x in annotations])


def _columns(content: '_Content', source: str) -> CocoFile:
    annotations = content.annotations
    _check_flags('iscrowd', {type(x.iscrowd) for x in annotations}, source)
    _check_flags('ignore', {type(x.ignore) for x in annotations}, source)
    empty = (b'', b'[]', b'null', b'{}', b'""')
    return CocoFile(
        images=content.images, categories=content.categories,
        image_ids=[x.image_id for x in annotations],
        category_ids=[x.category_id for x in annotations],
        boxes_xywh=[x.bbox for x in annotations],
        ignored=[bool(x.iscrowd or x.ignore) for x in annotations],
        segmentations=[x.segmentation if len(x.segmentation) > 4 or bytes(x.segmentation) not in empty else None
                       for x in annotations])


def _four_numbers(annotation: dict, source: str) -> list[float]:
    box_xywh = annotation['bbox']
    if not (isinstance(box_xywh, list) and len(box_xywh) == 4 and all(map(_is_float, box_xywh))):
        raise ValueError(f'{source}: bbox must be [x, y, width, height], got {_short(box_xywh)} in '
                         f'{_short(annotation)}')
    return box_xywh


def _check_entries(content: dict, source: str) -> None:
    if not content['images']:
        raise ValueError(f'{source} lists no images.')
    for key, fields in FIELDS.items():
        entries = content.get(key) or []
        if not isinstance(entries, list):
            raise ValueError(f'{source}: "{key}" has to be a list, and is a {type(entries).__name__}.')
        checks = [(field, *_KINDS[field]) for field in fields if field in _KINDS]
        for entry in entries:
            if not isinstance(entry, dict):
                raise ValueError(f'{source}: an entry of "{key}" has to be an object, and is {_short(entry)}')
            if key == 'images' and 'file_name' not in entry and 'coco_url' in entry:  # LVIS: folder and name in COCO
                entry['file_name'] = '/'.join(str(entry['coco_url']).split('/')[-2:])
            if not fields <= entry.keys():
                raise ValueError(f'{source}: an entry of "{key}" lacks {sorted(fields - entry.keys())}: '
                                 f'{_short(entry)}')
            for field, holds, expected in checks:
                if not holds(entry[field]):
                    raise ValueError(f'{source}: {field} has to be {expected}, got {_short(entry[field])} in an entry '
                                     f'of "{key}": {_short(entry)}')
    for key in ('images', 'categories'):
        twice = [index for index, number in Counter(entry['id'] for entry in content[key]).items() if number > 1]
        if twice:
            raise ValueError(f'{source} lists {len(twice)} ids of "{key}" more than once, for example {twice[:3]}. '
                             'Annotations name these ids: give each entry its own.')


def _check_flags(key: str, kinds: Iterable[type], source: str) -> None:
    """A crowd that is called '0' would count as one."""
    for kind in kinds:
        if kind not in (int, bool, float, type(None)):
            raise ValueError(f'{source}: {key} has to be 0 or 1, and is a {kind.__name__} in some annotations.')


def _is_float(value) -> bool:
    """Whether it is a number, and one that a float can hold; NaN and infinity are told of by who uses it."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**1000)


def _is_id(value) -> bool:
    return isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 2**63)


def _is_size(value) -> bool:
    return isinstance(value, int | float) and 0 < value < 2**31 and value == int(value)


def _is_file_name(value) -> bool:
    return isinstance(value, str) and bool(value) and '\0' not in value


_ID = (_is_id, 'a number or text')
_SIZE = (_is_size, 'a whole number above 0')
#: What the values of FIELDS have to be.
_KINDS = dict(id=_ID, image_id=_ID, category_id=_ID, width=_SIZE, height=_SIZE,
              file_name=(_is_file_name, 'the name of a file'), name=(lambda value: isinstance(value, str), 'text'))


def _short(value) -> str:
    return str(value)[:200]
