"""Reads YOLO folders: images/ beside labels/, with the classes in data.yaml or classes.txt."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import yaml
from PIL import Image, UnidentifiedImageError

from detrove.datasets.convert import (
    SPLIT_NAMES,
    Conversion,
    ConvertedImage,
    ConvertedObject,
    find_images,
    read_class_file,
)

CLASS_FILES = ('classes.txt', 'labels/classes.txt', 'obj.names', '_darknet.labels')
EXIF_ORIENTATION = 0x0112
TOLERANCE = 1e-6  # by which a rounded coordinate may leave [0, 1]


def fits(folder: Path) -> bool:
    return bool(_yaml_file(folder) or any(_split_folders(folder).values()))


def read(folder: Path, classes: list[str] | None, progress: Callable[[list, str], Iterable]) -> Conversion:
    """See detrove.datasets.convert.read.

    Each line of labels/NAME.txt is `class cx cy w h`, or `class x1 y1 x2 y2 x3 y3 ...` for a polygon, in
    fractions of the image. An image without a label file has no objects.
    """
    description = _read_yaml(folder)
    if classes is None:
        classes = _classes(folder, description)
    conversion = Conversion(folder, list(classes))
    sources = _described_splits(folder, description) or _split_folders(folder)
    for split, paths in sources.items():
        images = [image for path in paths for image in _list_images(path)]
        read_images = [_read_image(conversion, path) for path in progress(images, f'Reading {split}')]
        conversion.splits[split] = [image for image in read_images if image is not None]
    return conversion


def _yaml_file(folder: Path) -> Path | None:
    found = sorted([*folder.glob('*.yaml'), *folder.glob('*.yml')])
    named = [path for path in found if path.stem in ('data', 'dataset')]
    return (named or found or [None])[0]


def _read_yaml(folder: Path) -> dict:
    path = _yaml_file(folder)
    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except yaml.YAMLError as error:
        raise ValueError(f'{path} is not YAML: {error}') from error
    if not isinstance(content, dict):
        raise ValueError(
            f'{path} should hold keys such as train, val and names, but holds a {type(content).__name__}'
        )
    return content


def _classes(folder: Path, description: dict) -> list[str]:
    names = description.get('names')
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise ValueError(
                f'{_yaml_file(folder)}: names should be numbered 0 to {len(names) - 1}, got {sorted(names)}'
            )
        names = [names[index] for index in range(len(names))]
    if names is None:
        names = next(
            (read_class_file(folder / name) for name in CLASS_FILES if (folder / name).is_file()), None
        )
    if not names:
        raise ValueError(
            f'{folder} does not say what its classes are: needs "names" in data.yaml, or one of '
            f'{", ".join(CLASS_FILES)}, or --classes.'
        )
    return [str(name) for name in names]


def _described_splits(folder: Path, description: dict) -> dict[str, list[Path]]:
    """Where data.yaml says the images are."""
    splits = {}
    for split in SPLIT_NAMES:
        entries = description.get(split) or []
        entries = entries if isinstance(entries, list) else [entries]
        if entries:
            splits['val' if split == 'valid' else split] = [
                _resolve(folder, description, str(e)) for e in entries
            ]
    return splits


def _resolve(folder: Path, description: dict, entry: str) -> Path:
    # Roboflow writes ../train/images although the folder lies beside data.yaml.
    beside = Path(*[part for part in Path(entry).parts if part != '..'])
    candidates = [Path(description.get('path') or '.', entry), Path(entry), beside]
    found = next((folder / path for path in candidates if (folder / path).exists()), None)
    if found is None:
        raise FileNotFoundError(
            f'{_yaml_file(folder)} places images in {entry!r}, but none of '
            f'{[str(folder / path) for path in candidates]} exists.'
        )
    return found


def _split_folders(folder: Path) -> dict[str, list[Path]]:
    """Where images are by the usual layouts; images/ without splits inside is the split "all"."""
    splits = {}
    for split in SPLIT_NAMES:
        found = [path for path in (folder / 'images' / split, folder / split / 'images') if path.is_dir()]
        if found:
            splits['val' if split == 'valid' else split] = found
    if not splits and (folder / 'images').is_dir() and (folder / 'labels').is_dir():
        splits['all'] = [folder / 'images']
    return splits


def _list_images(path: Path) -> list[Path]:
    if path.is_dir():
        return find_images(path)
    lines = [Path(line) for line in read_class_file(path)]  # a list of images, one a line
    return [line if line.is_absolute() else path.parent / line for line in lines]


def _label_path(image_path: Path) -> Path:
    """The last folder called images becomes labels; without one, the label file lies beside its image."""
    parts = list(image_path.parts)
    if 'images' in parts:
        parts[len(parts) - 1 - parts[::-1].index('images')] = 'labels'
    return Path(*parts).with_suffix('.txt')


def _read_image(conversion: Conversion, path: Path) -> ConvertedImage | None:
    try:
        with Image.open(path) as image:  # reads the header only
            width, height = image.size
            if (
                image.getexif().get(EXIF_ORIENTATION, 1) >= 5
            ):  # shown turned by a quarter, as annotators see it
                width, height = height, width
    except (OSError, UnidentifiedImageError) as error:
        conversion.report(path, None, f'image cannot be read: {error}')
        return None
    label_path = _label_path(path)
    lines = label_path.read_text(encoding='utf-8').splitlines() if label_path.is_file() else []
    objects = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            objects.append(_read_object(line, width, height, conversion.classes))
        except ValueError as error:
            conversion.report(label_path, number, str(error))
    return ConvertedImage(path, height, width, objects)


def _read_object(line: str, width: int, height: int, classes: list[str]) -> ConvertedObject:
    try:
        label, *values = (float(word) for word in line.split())
    except ValueError:
        raise ValueError(f'not numbers: {line.strip()!r}') from None
    if label not in range(len(classes)):
        raise ValueError(f'class {label:g} is not one of 0 to {len(classes) - 1} ({classes})')
    if not (len(values) == 4 or len(values) >= 6 and len(values) % 2 == 0):
        raise ValueError(
            f'{len(values) + 1} values, expected `class cx cy w h` or `class x1 y1 x2 y2 x3 y3 ...`'
        )
    if not all(math.isfinite(v) and -TOLERANCE <= v <= 1 + TOLERANCE for v in values):
        raise ValueError(f'coordinates must be fractions of the image in [0, 1], got {values}')

    polygons = area = None
    if len(values) == 4:
        cx, cy, w, h = values
        corners = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
    else:
        x, y = ([v * side for v in values[axis::2]] for axis, side in ((0, width), (1, height)))
        polygons = [[value for point in zip(x, y, strict=True) for value in point]]
        area = abs(sum(x[i - 1] * y[i] - x[i] * y[i - 1] for i in range(len(x)))) / 2
        corners = [min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])]
    x1, y1, x2, y2 = (
        min(max(v, 0.0), 1.0) * side for v, side in zip(corners, (width, height) * 2, strict=True)
    )
    if not (x1 < x2 and y1 < y2):
        raise ValueError(f'box covers nothing of the image: {line.strip()!r}')
    return ConvertedObject(classes[int(label)], (x1, y1, x2, y2), polygons=polygons, area=area)
