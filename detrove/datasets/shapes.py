"""The built-in sample data: writes the shapes data set as COCO json files and ADE20K-style label maps.

python -m detrove.datasets.shapes [--root data/shapes] [--force]

data/shapes/
  images/{train,val}/000000.jpg
  annotations/{train,val}.json                 boxes and masks (run-length encoded visible parts)
  annotations_semantic/{train,val}/000000.png  0 = none of the classes, 1.. = CLASSES
  shapes.json                                  which settings drew it
"""

import argparse
import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock
from mmengine.logging import print_log
from pycocotools import mask as rle
from rich.console import Console
from rich.progress import track

from detrove.datasets.shapes_drawing import CLASSES, ShapesSettings, draw

VERSION = 1  # raise when the same settings would draw something else
MARKER = 'shapes.json'
SPLITS = ('train', 'val')
JPEG_QUALITY = 95


def ensure_shapes(
    root: str | Path = 'data/shapes', settings: ShapesSettings | None = None, *, force: bool = False
) -> Path:
    """The folder of the shapes data set, drawn first where it is not there yet.

    Safe to call from several processes at once: one draws, the others wait. The set appears under its final
    name only when it is complete, so an interrupted call leaves nothing that a later one takes for finished.

    Args:
        root: where the set is, or goes.
        settings: how it is drawn; None for the defaults.
        force: draws anew over a shapes set that other settings made, or that is damaged.

    Raises:
        FileExistsError: `root` holds anything that is not a shapes set, or, without `force`, one of other
            settings.
    """
    root, settings = Path(root), settings or ShapesSettings()
    if not force and _is_complete(root, settings):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.parent / f'.{root.name}.lock'):
        if not force and _is_complete(root, settings):
            return root
        _check_replaceable(root, settings, force)
        partial = root.parent / f'.{root.name}.partial'
        # Left by a killed process: nobody else has it while we hold the lock.
        shutil.rmtree(partial, ignore_errors=True)
        try:
            _write(partial, settings)
            if root.exists():
                shutil.rmtree(root)
            os.replace(partial, root)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return root


def fingerprint(settings: ShapesSettings) -> str:
    """A hash of everything that decides the set's contents."""
    text = json.dumps([VERSION, CLASSES, dataclasses.asdict(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _files(settings: ShapesSettings) -> Iterator[str]:
    """Every file of a set, relative to its root."""
    yield MARKER
    for split in SPLITS:
        yield f'annotations/{split}.json'
        for index in range(_num_images(settings, split)):
            yield f'images/{split}/{index:06d}.jpg'
            yield f'annotations_semantic/{split}/{index:06d}.png'


def _num_images(settings: ShapesSettings, split: str) -> int:
    return {'train': settings.num_train, 'val': settings.num_val}[split]


def _found(root: Path) -> set[str]:
    return {
        Path(folder, name).relative_to(root).as_posix()
        for folder, _, names in os.walk(root)
        for name in names
    }


def _marker(root: Path) -> dict | None:
    path = root / MARKER
    if not path.is_file():
        return None
    try:
        marker = json.loads(path.read_text())
    except ValueError:
        return None
    return marker if isinstance(marker, dict) and 'fingerprint' in marker and 'files' in marker else None


def _is_complete(root: Path, settings: ShapesSettings) -> bool:
    marker = _marker(root)
    return (
        marker is not None
        and marker['fingerprint'] == fingerprint(settings)
        and _found(root).issuperset(_files(settings))
    )


def _check_replaceable(root: Path, settings: ShapesSettings, force: bool) -> None:
    """Raises unless nothing but files of our own making would be lost."""
    if root.is_dir() and not any(root.iterdir()) or not root.exists():
        return
    marker = _marker(root)
    if marker is None:
        raise FileExistsError(
            f'{root} exists and was not made by detrove.datasets.shapes (no readable {MARKER} in it), so '
            f'nothing was written there. Move it away, or choose another folder (data_root, --root).'
        )
    foreign = sorted(_found(root) - set(marker['files']))
    if foreign:
        raise FileExistsError(
            f'{root} holds {len(foreign)} files that are not part of the shapes set '
            f'({", ".join(foreign[:3])}), so it was not drawn anew. '
            f'Move them away, or choose another folder (data_root, --root).'
        )
    if marker['fingerprint'] != fingerprint(settings) and not force:
        raise FileExistsError(
            f'{root} holds a shapes set drawn with other settings ({marker["fingerprint"]}; wanted '
            f'{fingerprint(settings)}). Draw it anew with `python -m detrove.datasets.shapes --root {root} '
            f'--force`, or choose another folder (data_root).'
        )


def _write(folder: Path, settings: ShapesSettings) -> None:
    for split in SPLITS:
        (folder / 'images' / split).mkdir(parents=True)
        (folder / 'annotations_semantic' / split).mkdir(parents=True)
    (folder / 'annotations').mkdir()

    jobs = [(split, index) for split in SPLITS for index in range(_num_images(settings, split))]
    images: dict[str, list] = {split: [] for split in SPLITS}
    annotations: dict[str, list] = {split: [] for split in SPLITS}
    for (split, index), (size_hw, objects) in zip(jobs, _write_images(folder, settings, jobs), strict=True):
        height, width = size_hw
        images[split].append(dict(id=index + 1, file_name=f'{index:06d}.jpg', height=height, width=width))
        for item in objects:
            annotations[split].append(dict(id=len(annotations[split]) + 1, image_id=index + 1, **item))

    categories = [dict(id=index + 1, name=name, supercategory='shape') for index, name in enumerate(CLASSES)]
    info = dict(description='detrove shapes', version=VERSION, fingerprint=fingerprint(settings))
    for split in SPLITS:
        content = dict(info=info, images=images[split], annotations=annotations[split], categories=categories)
        (folder / 'annotations' / f'{split}.json').write_text(json.dumps(content))
    marker = dict(
        fingerprint=fingerprint(settings),
        version=VERSION,
        settings=dataclasses.asdict(settings),
        files=sorted(_files(settings)),
    )
    (folder / MARKER).write_text(json.dumps(marker, indent=1))


def _write_images(folder: Path, settings: ShapesSettings, jobs: list[tuple[str, int]]) -> Iterator:
    """What _write_image returns for each (split, index) of jobs, in order, with a progress display."""
    console = Console(stderr=True)
    title = 'Drawing the shapes data set'
    if not console.is_terminal:
        print_log(f'{title}: {len(jobs)} images.', 'current')
    # A thread for each core: OpenCV and numpy's large operations release the interpreter.
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        results = pool.map(lambda job: _write_image(folder, settings, *job), jobs)
        yield from track(results, title, len(jobs), console=console, disable=not console.is_terminal)
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt does not wait for the images still to come


def _write_image(
    folder: Path, settings: ShapesSettings, split: str, index: int
) -> tuple[tuple[int, int], list[dict]]:
    """Draws and writes one image and its label map. Returns its size and its objects in COCO's format."""
    drawing = draw(settings, split_index=SPLITS.index(split), image_index=index)
    label_map = np.zeros(drawing.image_bgr.shape[:2], np.uint8)
    objects = []
    for label, mask in zip(drawing.labels, drawing.masks, strict=True):
        label_map[mask] = label + 1
        encoded = rle.encode(np.asfortranarray(mask, np.uint8))
        objects.append(
            dict(
                category_id=label + 1,
                iscrowd=0,
                area=int(rle.area(encoded)),
                bbox=rle.toBbox(encoded).tolist(),
                segmentation=dict(size=list(mask.shape), counts=encoded['counts'].decode()),
            )
        )
    _imwrite(
        folder / 'images' / split / f'{index:06d}.jpg',
        drawing.image_bgr,
        [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY],
    )
    _imwrite(folder / 'annotations_semantic' / split / f'{index:06d}.png', label_map, [])
    return label_map.shape, objects


def _imwrite(path: Path, image: np.ndarray, parameters: list[int]) -> None:
    if not cv2.imwrite(str(path), image, parameters):
        raise OSError(f'Could not write {path}: is the disk full?')


def main(argv: list[str] | None = None) -> int:
    """The command `python -m detrove.datasets.shapes`."""
    parser = argparse.ArgumentParser(description='Draw the built-in shapes data set.')
    parser.add_argument('--root', default='data/shapes', help='folder to write (default: %(default)s)')
    parser.add_argument('--force', action='store_true', help='draw a shapes set that is already there anew')
    args = parser.parse_args(argv)
    try:
        root = ensure_shapes(args.root, force=args.force)
    except OSError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(
        f'{root}: '
        + ', '.join(f'{_num_images(ShapesSettings(), split)} {split}' for split in SPLITS)
        + ' images'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
