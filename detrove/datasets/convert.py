"""Turns VOC and YOLO folders into COCO json files. Images stay where they are."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import track

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
SPLIT_NAMES = ('train', 'val', 'valid', 'trainval', 'test')


@dataclass
class ConvertedObject:
    """One object. box_xyxy in pixels from the upper left corner; polygons as in COCO's "segmentation"."""

    name: str
    box_xyxy: tuple[float, float, float, float]
    ignored: bool = False
    polygons: list[list[float]] | None = None
    area: float | None = None  # None: the box's


@dataclass
class ConvertedImage:
    path: Path
    height: int
    width: int
    objects: list[ConvertedObject]


@dataclass
class Conversion:
    """A data set read from a folder.

    Attributes:
        root: the folder; "file_name" in the json is relative to it.
        classes: names, in the order of their COCO ids 1..
        splits: images of each split.
        problems: what could not be read, as "file:line: what was found"; left out of `splits`.
    """

    root: Path
    classes: list[str] = field(default_factory=list)
    splits: dict[str, list[ConvertedImage]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def report(self, path: Path, line: int | None, message: str) -> None:
        self.problems.append(f'{path}:{line}: {message}' if line else f'{path}: {message}')


def read(
    folder: str | Path, *, layout: str = 'auto', classes: list[str] | None = None, show_progress: bool = False
) -> Conversion:
    """Reads a VOC or YOLO folder.

    Args:
        folder: for VOC the one with Annotations/ and JPEGImages/; for YOLO the one with images/ and labels/,
            or with train/images, train/labels and so on, or the one of data.yaml.
        layout: 'voc', 'yolo', or 'auto' to tell them apart by what is in the folder.
        classes: names in order; None for those of the folder (YOLO: data.yaml or classes.txt; VOC: the names
            that occur, sorted).
        show_progress: shows a bar where stderr is a terminal.

    Raises:
        FileNotFoundError: the folder is missing or laid out otherwise.
        ValueError: no classes, or no images.
    """
    from detrove.datasets import convert_voc, convert_yolo

    readers = dict(voc=convert_voc, yolo=convert_yolo)
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f'No folder {folder.resolve()}')
    if layout == 'auto':
        fitting = [name for name, reader in readers.items() if reader.fits(folder)]
        if len(fitting) != 1:
            raise FileNotFoundError(
                f'{folder} looks like {" and like ".join(fitting) or "neither a VOC nor a YOLO data set"}: '
                f'it holds {sorted(path.name for path in folder.iterdir())[:10]}. VOC: Annotations/*.xml, '
                f'JPEGImages/. YOLO: images/ and labels/ (or train/images, train/labels), data.yaml or '
                f'classes.txt. Name the layout with --format where it cannot be told.'
            )
        layout = fitting[0]
    conversion = readers[layout].read(folder, classes, progress_bar(show_progress))
    if not any(conversion.splits.values()):
        problems = ''.join(f'\n  {problem}' for problem in conversion.problems[:5])
        raise ValueError(f'{folder}: no images of a {layout.upper()} data set could be read.{problems}')
    if not conversion.classes:
        raise ValueError(f'{folder}: no object has a class. Name the classes with --classes.')
    return conversion


def progress_bar(show: bool) -> Callable[[list, str], Iterable]:
    """Wraps a list to show on a terminal how much of it is done, under a description."""
    console = Console(stderr=True)
    return lambda items, description: track(
        items, description, console=console, disable=not (show and console.is_terminal)
    )


def to_coco(conversion: Conversion, split: str) -> dict:
    """The COCO json content of one split."""
    id_of = {name: index + 1 for index, name in enumerate(conversion.classes)}
    images, annotations = [], []
    for image in conversion.splits[split]:
        file_name = Path(os.path.relpath(image.path, conversion.root)).as_posix()
        images.append(dict(id=len(images) + 1, file_name=file_name, height=image.height, width=image.width))
        for item in image.objects:
            x1, y1, x2, y2 = item.box_xyxy
            area = (x2 - x1) * (y2 - y1) if item.area is None else item.area
            annotation = dict(
                id=len(annotations) + 1,
                image_id=len(images),
                category_id=id_of[item.name],
                bbox=[round(value, 4) for value in (x1, y1, x2 - x1, y2 - y1)],
                area=round(area, 4),
                # COCO's evaluation knows no other way to leave an object out of the count.
                iscrowd=int(item.ignored),
            )
            if item.polygons is not None:
                annotation['segmentation'] = [
                    [round(value, 4) for value in polygon] for polygon in item.polygons
                ]
            annotations.append(annotation)
    return dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=index, name=name) for name, index in id_of.items()],
    )


def write(conversion: Conversion, out: str | Path, *, force: bool = False) -> list[Path]:
    """Writes {split}.json for each split into `out`. Raises FileExistsError where one is, unless `force`."""
    out = Path(out)
    paths = [out / f'{split}.json' for split in conversion.splits]
    existing = [str(path) for path in paths if path.exists()]
    if existing and not force:
        raise FileExistsError(
            f'Already there: {", ".join(existing)}. Write elsewhere with --out, or over them with --force.'
        )
    out.mkdir(parents=True, exist_ok=True)
    for split, path in zip(conversion.splits, paths, strict=True):
        write_json(to_coco(conversion, split), path)
    return paths


def write_json(content: dict, path: Path) -> None:
    """Write a file that is there in full or not at all."""
    with tempfile.NamedTemporaryFile(
        'w', dir=path.parent, prefix=f'.{path.stem}.', suffix='.partial', delete=False
    ) as file:
        json.dump(content, file)
    os.chmod(file.name, 0o666 & ~_umask())
    os.replace(file.name, path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_class_file(path: Path) -> list[str]:
    """Names, one a line."""
    return [line.strip() for line in path.read_text(encoding='utf-8').splitlines() if line.strip()]


def find_images(folder: Path) -> list[Path]:
    """Every image below a folder, sorted."""
    return sorted(path for path in folder.rglob('*') if path.suffix.lower() in IMAGE_SUFFIXES)
