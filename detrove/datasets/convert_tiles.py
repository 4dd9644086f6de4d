"""Cuts the images of a COCO data set into overlapping tiles, with what is annotated in them, for training on them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle_masks

from detrove.datasets.convert import progress_bar, write_json
from detrove.inference.tiles import Tile, make_tiles

_JPEG = ('.jpg', '.jpeg')
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class TileSettings:
    """How images are cut.

    Attributes:
        tile: Side of a tile in pixels.
        overlap: Share of a tile's side that its neighbour has too, at least; 0 to below 1.
        min_share: Objects of which less is in a tile are marked `iscrowd` there, so that they count neither as objects
            nor as background where COCO's evaluation looks; 0 to 1. By mask where there is one, else by box.
        drop_empty: Leave out tiles without an object.
    """

    tile: int
    overlap: float = 0.2
    min_share: float = 0.3
    drop_empty: bool = False

    def __post_init__(self):
        make_tiles((1, 1), self.tile, self.overlap)  # complains
        if not 0 <= self.min_share <= 1:
            raise ValueError(f'min_share {self.min_share}: expected 0 to 1')


def cut_dataset(ann_file: Path, image_folder: Path, out: Path, settings: TileSettings, *, force: bool = False,
                show_progress: bool = False) -> Path:
    """Write the tiles to `out/images` and their annotations to `out/NAME_OF_ANN_FILE.json`.

    Tiles are named `IMAGE_LEFT_TOP`; an entry of `images` also states `source`: the image's id and the tile's corner.
    JPEG stays JPEG (quality 95), other formats become PNG.

    Raises:
        FileNotFoundError: If the annotations or an image are missing.
        FileExistsError: If the json file is there, or images are, unless `force`.
        ValueError: If an image cannot be read or has another size than the file states.
    """
    content = json.loads(Path(ann_file).read_text(encoding='utf-8'))
    missing = [key for key in ('images', 'annotations', 'categories') if key not in content]
    if missing:
        raise ValueError(f'{ann_file}: no {", ".join(missing)} in it, so this is no COCO data set')
    written = out / f'{Path(ann_file).stem}.json'
    if written.exists() and not force:
        raise FileExistsError(f'Already there: {written}. Cut into another folder, or write over it with --force.')
    (out / 'images').mkdir(parents=True, exist_ok=True)

    of_image = defaultdict(list)
    for annotation in content['annotations']:
        of_image[annotation['image_id']].append(annotation)
    images, annotations = [], []
    for image in progress_bar(show_progress)(content['images'], 'Cutting'):
        pixels = _read(image_folder, image)
        for tile in make_tiles(pixels.shape[:2], settings.tile, settings.overlap):
            parts = list(_parts(of_image[image['id']], tile, pixels.shape[:2], settings.min_share))
            if settings.drop_empty and all(part['iscrowd'] for part in parts):
                continue
            images.append(_write(out, image, pixels, tile, len(images) + 1))
            for part in parts:
                annotations.append({**part, 'id': len(annotations) + 1, 'image_id': len(images)})
    write_json({**content, 'images': images, 'annotations': annotations}, written)
    return written


def _read(folder: Path, image: dict) -> np.ndarray:
    path = folder / image['file_name']
    if not path.is_file():
        raise FileNotFoundError(f'No image {path}. --images names the folder that "file_name" is relative to.')
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f'{path} cannot be read as an image')
    if pixels.shape[:2] != (image['height'], image['width']):
        raise ValueError(f'{path} is {pixels.shape[1]} x {pixels.shape[0]} pixels, and the annotations say '
                         f'{image["width"]} x {image["height"]}')
    return pixels


def _write(out: Path, image: dict, pixels: np.ndarray, tile: Tile, image_id: int) -> dict:
    name = Path(image['file_name'])
    suffix = name.suffix if name.suffix.lower() in _JPEG else '.png'
    name = name.with_name(f'{name.stem}_{tile.left}_{tile.top}{suffix}')
    path = out / 'images' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = pixels[tile.top:tile.bottom, tile.left:tile.right]
    if not cv2.imwrite(str(path), part, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix != '.png' else []):
        raise OSError(0, 'OpenCV could not write it', str(path))
    return dict(id=image_id, file_name=name.as_posix(), height=part.shape[0], width=part.shape[1],
                source=dict(image_id=image['id'], left=tile.left, top=tile.top))


def _parts(annotations: Iterable[dict], tile: Tile, size_hw: tuple[int, int], min_share: float) -> Iterator[dict]:
    """What a tile shows of annotated objects, in its own pixels."""
    for annotation in annotations:
        box = clip_box(annotation['bbox'], tile)
        if box is None:
            continue
        part = {**annotation, 'bbox': box, 'area': box[2] * box[3]}
        share = part['area'] / max(annotation['bbox'][2] * annotation['bbox'][3], 1e-9)
        segmentation = annotation.get('segmentation')
        if segmentation:
            cut = _cut_mask(segmentation, tile, size_hw)
            if cut is None:
                continue  # the box reaches into the tile, the object does not
            part['segmentation'], part['bbox'], part['area'], whole_area = cut
            share = part['area'] / max(whole_area, 1e-9)
        part['iscrowd'] = int(bool(annotation.get('iscrowd')) or share < min_share)
        yield part


def clip_box(box_xywh: list[float], tile: Tile) -> list[float] | None:
    """The part of a box inside a tile, in the tile's pixels; None where there is none."""
    x, y, width, height = box_xywh
    left, top = max(x, tile.left), max(y, tile.top)
    right, bottom = min(x + width, tile.right), min(y + height, tile.bottom)
    if left >= right or top >= bottom:
        return None
    return [round(value, 4) for value in (left - tile.left, top - tile.top, right - left, bottom - top)]


def _cut_mask(segmentation, tile: Tile, size_hw: tuple[int, int]) -> tuple | None:
    """The part of a mask in a tile, its box, its area, and the area of the whole; None where there is none.

    Polygons stay polygons, run lengths (a dict) stay run lengths.
    """
    if isinstance(segmentation, dict):
        counts = segmentation['counts']
        rle = rle_masks.frPyObjects(segmentation, *size_hw) if isinstance(counts, list) else segmentation
        whole = rle_masks.decode(rle)
        part = np.asfortranarray(whole[tile.top:tile.bottom, tile.left:tile.right])
        if not part.any():
            return None
        encoded = rle_masks.encode(part)
        box = [float(value) for value in rle_masks.toBbox(encoded)]
        encoded['counts'] = encoded['counts'].decode('ascii')
        return encoded, box, float(part.sum()), float(whole.sum())
    polygons = [np.asarray(polygon, float).reshape(-1, 2) for polygon in segmentation if len(polygon) >= 6]
    clipped = [clip_polygon(polygon, tile) for polygon in polygons]
    clipped = [polygon for polygon in clipped if len(polygon) >= 3 and polygon_area(polygon) > 0]
    if not clipped:
        return None
    points = np.concatenate(clipped)
    low, high = points.min(0), points.max(0)
    box = [round(float(value), 4) for value in (*low, *(high - low))]
    flat = [[round(float(value), 4) for value in polygon.reshape(-1)] for polygon in clipped]
    return flat, box, sum(map(polygon_area, clipped)), sum(map(polygon_area, polygons))


def clip_polygon(points: np.ndarray, tile: Tile) -> np.ndarray:
    """A polygon (N, 2) of x and y cut to a tile, in the tile's pixels (Sutherland and Hodgman 1974).

    The parts of a concave polygon that the border separates stay joined by a line along the border.
    """
    for axis, limit, sign in ((0, tile.left, 1), (0, tile.right, -1), (1, tile.top, 1), (1, tile.bottom, -1)):
        inside = (points[:, axis] - limit) * sign >= 0
        kept = []
        for index, point in enumerate(points):
            before = points[index - 1]
            if inside[index] != inside[index - 1]:
                along = (limit - before[axis]) / (point[axis] - before[axis])
                kept.append(before + along * (point - before))
            if inside[index]:
                kept.append(point)
        points = np.array(kept).reshape(-1, 2)
        if not len(points):
            break
    return points - (tile.left, tile.top)


def polygon_area(points: np.ndarray) -> float:
    """The area inside a polygon (N, 2), by the shoelace formula."""
    x, y = points[:, 0], points[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
