"""Reads Pascal VOC folders: JPEGImages/, Annotations/*.xml, ImageSets/Main/{train,val,trainval,test}.txt."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from xml.etree import ElementTree

from detrove.datasets.convert import IMAGE_SUFFIXES, SPLIT_NAMES, Conversion, ConvertedImage, ConvertedObject


def fits(folder: Path) -> bool:
    return (folder / 'Annotations').is_dir() and (folder / 'JPEGImages').is_dir()


def read(folder: Path, classes: list[str] | None, progress: Callable[[list, str], Iterable]) -> Conversion:
    """See detrove.datasets.convert.read.

    VOC counts pixels from 1 and includes the last: xmin = 1 and xmax = width is the whole image, (0, width)
    in COCO. Objects marked difficult are ignored in training and evaluation. Without ImageSets/Main every
    annotated image goes into one split, "all".
    """
    if not fits(folder):
        raise FileNotFoundError(
            f'{folder} has no Annotations/ and JPEGImages/ in it: for VOCdevkit, name VOC2007 or '
            f'VOC2012 inside.'
        )
    conversion = Conversion(folder)
    for split, stems in _splits(folder).items():
        images = [
            _read_image(conversion, folder, stem, classes) for stem in progress(stems, f'Reading {split}')
        ]
        conversion.splits[split] = [image for image in images if image is not None]
    found = {item.name for images in conversion.splits.values() for image in images for item in image.objects}
    conversion.classes = list(classes) if classes is not None else sorted(found)
    return conversion


def _splits(folder: Path) -> dict[str, list[str]]:
    lists = [folder / 'ImageSets' / 'Main' / f'{split}.txt' for split in SPLIT_NAMES]
    splits = {
        path.stem: [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
        for path in lists
        if path.is_file()
    }
    return splits or {'all': sorted(path.stem for path in (folder / 'Annotations').glob('*.xml'))}


def _read_image(
    conversion: Conversion, folder: Path, stem: str, classes: list[str] | None
) -> ConvertedImage | None:
    """None, and a report, where the file as a whole cannot be used."""
    path = folder / 'Annotations' / f'{stem}.xml'
    if not path.is_file():
        conversion.report(path, None, 'annotation file missing')
        return None
    text = path.read_text(encoding='utf-8', errors='replace')  # to find lines in; the parser sees the bytes
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except ElementTree.ParseError as error:
        conversion.report(path, error.position[0], f'not XML: {error}')
        return None
    image_path = _find_image(folder / 'JPEGImages', stem, root.findtext('filename'))
    if image_path is None:
        conversion.report(path, None, f'no image {stem} in {folder / "JPEGImages"}')
        return None
    try:
        width, height = (int(root.findtext(f'size/{side}')) for side in ('width', 'height'))
    except (TypeError, ValueError):
        width = height = 0
    if min(width, height) < 1:
        conversion.report(path, _line_of(text, '<size', 0), 'needs <size> with positive <width> and <height>')
        return None

    objects = []
    for index, element in enumerate(root.iter('object')):
        try:
            objects.append(_read_object(element, width, height, classes))
        except ValueError as error:
            conversion.report(path, _line_of(text, '<object', index), str(error))
    return ConvertedImage(image_path, height, width, objects)


def _find_image(folder: Path, stem: str, file_name: str | None) -> Path | None:
    names = [f'{stem}{suffix}' for suffix in IMAGE_SUFFIXES]
    if file_name and Path(file_name).stem == stem:
        names.insert(0, Path(file_name).name)
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_object(
    element: ElementTree.Element, width: int, height: int, classes: list[str] | None
) -> ConvertedObject:
    name = (element.findtext('name') or '').strip()
    if not name:
        raise ValueError('object without <name>')
    if classes is not None and name not in classes:
        raise ValueError(f'class {name!r} is not among {classes}')
    corners = {key: element.findtext(f'bndbox/{key}') for key in ('xmin', 'ymin', 'xmax', 'ymax')}
    try:
        x1, y1, x2, y2 = (float(value) for value in corners.values())
    except (TypeError, ValueError):
        raise ValueError(f'{name}: <bndbox> needs four numbers, got {corners}') from None
    x1, y1, x2, y2 = max(x1 - 1, 0.0), max(y1 - 1, 0.0), min(x2, float(width)), min(y2, float(height))
    if not (x1 < x2 and y1 < y2):
        raise ValueError(f'{name}: box {corners} covers nothing of the {width} x {height} image')
    return ConvertedObject(
        name, (x1, y1, x2, y2), ignored=(element.findtext('difficult') or '0').strip() == '1'
    )


def _line_of(text: str, tag: str, index: int) -> int | None:
    """The line of the index-th opening of a tag."""
    starts = [match.start() for match in re.finditer(re.escape(tag) + r'\b', text)]
    return text.count('\n', 0, starts[index]) + 1 if index < len(starts) else None
