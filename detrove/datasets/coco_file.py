"""COCO's annotation files read into columns, checked."""

from collections.abc import Sequence
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
        ValueError: it is not COCO json, lists no images, or an entry lacks a field.
    """
    data = Path(path).read_bytes()
    if msgspec is not None:
        try:
            content = msgspec.json.decode(data, type=_Content)
        except msgspec.DecodeError:
            pass  # looked at below, entry by entry
        else:
            _check_entries(dict(images=content.images, categories=content.categories), source)
            return _columns(content)
    try:
        content = from_json(data)
    except ValueError as error:
        raise ValueError(f'{source} is not COCO json: {error}. {LAYOUT_HINT}') from error
    needed = ('images', 'annotations', 'categories') if needs_annotations else ('images', 'categories')
    missing = [key for key in needed if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        found = f'the keys {list(content)[:8]}' if isinstance(content, dict) else f'a {type(content).__name__}'
        raise ValueError(f'{source} is not COCO json: it holds {found}, but lacks the lists {missing}. {LAYOUT_HINT}')
    _check_entries(content, source)
    annotations = content.get('annotations', [])
    return CocoFile(
        images=content['images'], categories=content['categories'],
        image_ids=[x['image_id'] for x in annotations],
        category_ids=[x['category_id'] for x in annotations],
        boxes_xywh=[_four_numbers(x, source) for x in annotations],
        ignored=[bool(x.get('iscrowd') or x.get('ignore')) for x in annotations],
        segmentations=[x.get('segmentation') or None for x in annotations])


def _columns(content: '_Content') -> CocoFile:
    annotations = content.annotations
    empty = (b'', b'[]', b'null', b'{}', b'""')
    return CocoFile(
        images=content.images, categories=content.categories,
        image_ids=[x.image_id for x in annotations],
        category_ids=[x.category_id for x in annotations],
        boxes_xywh=[x.bbox for x in annotations],
        ignored=[bool(x.iscrowd or x.ignore) for x in annotations],
        segmentations=[x.segmentation if bytes(x.segmentation) not in empty else None for x in annotations])


def _four_numbers(annotation: dict, source: str) -> list[float]:
    box_xywh = annotation['bbox']
    if not (isinstance(box_xywh, list) and len(box_xywh) == 4 and all(isinstance(x, int | float) for x in box_xywh)):
        raise ValueError(f'{source}: bbox must be [x, y, width, height], got {box_xywh} in {str(annotation)[:200]}')
    return box_xywh


def _check_entries(content: dict, source: str) -> None:
    if not content['images']:
        raise ValueError(f'{source} lists no images.')
    for key, fields in FIELDS.items():
        for entry in content.get(key, []):
            if not fields <= entry.keys():
                raise ValueError(f'{source}: an entry of "{key}" lacks {sorted(fields - entry.keys())}: '
                                 f'{str(entry)[:200]}')
