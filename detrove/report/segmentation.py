"""Semantic segmentation: which class is taken for which, image by image."""

import base64
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from mmengine.evaluator import BaseMetric

from .average_precision import mean_over
from .predictions import KEPT_FILE, Predictions, cache_key, collected, run_test, test_config
from .run import Run

_FORMAT = 1
SHOWN = 6  # worst and best images whose maps are kept


@dataclass(frozen=True)
class Segmentation:
    """What a segmentor said of I images with K classes.

    Attributes:
        classes: K names.
        palette: K colours, RGB.
        img_paths: I files.
        image, true, predicted, pixels: sparse confusion: so many pixels of a class in an image were taken for another.
        maps: position of an image -> its true and its predicted map, of the worst and best images; 255 for no class.
        about: metrics, origin and size of the model.
    """

    classes: tuple[str, ...]
    palette: Sequence[Sequence[int]]
    img_paths: Sequence[str]
    image: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    pixels: np.ndarray
    maps: Mapping[int, tuple[np.ndarray, np.ndarray]]
    about: Predictions

    def confusion(self, weights: np.ndarray | None = None) -> np.ndarray:
        """(K, K) pixels, rows are true classes; (I,) weights say how often each image counts."""
        matrix = np.zeros((len(self.classes),) * 2)
        pixels = self.pixels if weights is None else self.pixels * weights[self.image]
        np.add.at(matrix, (self.true, self.predicted), pixels)
        return matrix

    def iou(self, weights: np.ndarray | None = None) -> np.ndarray:
        """(K,) intersection over union, NaN of a class that is neither there nor predicted."""
        return class_iou(self.confusion(weights))

    @cached_property
    def image_iou(self) -> np.ndarray:
        """(I,) mean IoU over the classes of each image, NaN of an image without labels."""
        return image_ious(self.image, self.true, self.predicted, self.pixels, len(self.img_paths), len(self.classes))


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """(..., K) from (..., K, K) with true classes in rows."""
    inside = np.diagonal(confusion, axis1=-2, axis2=-1)
    union = confusion.sum(axis=-1) + confusion.sum(axis=-2) - inside
    return np.where(union > 0, inside / np.maximum(union, 1), np.nan)


def image_ious(image, true, predicted, pixels, num_images: int, num_classes: int) -> np.ndarray:
    """Mean IoU over the classes that are in each image or were predicted there."""
    values = np.full(num_images, np.nan)
    for index in range(num_images):
        own = image == index
        confusion = np.zeros((num_classes,) * 2)
        confusion[true[own], predicted[own]] = pixels[own]
        values[index] = mean_over(class_iou(confusion))
    return values


class MapCollector(BaseMetric):
    """Keeps the confusion and the maps of every image of a test, and hands them over as `predictions`."""

    default_prefix = 'report'

    def __init__(self):
        super().__init__(collect_device='cpu')
        self.predictions = None

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            predicted, true = (sample[key]['data'].squeeze().cpu().numpy() for key in ('pred_sem_seg', 'gt_sem_seg'))
            num_classes = len(self.dataset_meta['classes'])
            known = true < num_classes
            pairs = true[known].astype(np.int64) * num_classes + predicted[known]
            pair, pixels = np.unique(pairs, return_counts=True)
            maps = [_to_png(np.where(one < num_classes, one, 255)) for one in (true, predicted)]
            self.results.append(dict(img_path=sample['img_path'], pair=pair, pixels=pixels, maps=maps))

    def compute_metrics(self, results: Sequence[dict]) -> dict:
        self.predictions = list(results)
        return {}


def segment(run: Run) -> Segmentation:
    """The result of a run: kept by an earlier report, or made now and kept.

    Raises:
        ValueError: for a file with predictions.
    """
    if run.results is not None:
        raise ValueError(f'{run.results}: reports of segmentation are made from a work directory, not from a file')
    kept = run.work_dir / KEPT_FILE
    key = cache_key(run.cfg, run.checkpoint)
    found = load_segmentation(kept, key)
    if found is None:
        cfg, collector = test_config(run.cfg, run.checkpoint), MapCollector()
        with tempfile.TemporaryDirectory() as folder:
            cfg.work_dir = folder
            runner, metrics = run_test(cfg, collector)
        found = to_segmentation(collector, runner, metrics, run.checkpoint)
        save_segmentation(kept, key, found)
    return found


def to_segmentation(collector: MapCollector, runner, metrics: Mapping, checkpoint: Path | str) -> Segmentation:
    """What a test has left in the collector, with the maps of the images to show."""
    about = collected(collector, runner, metrics, checkpoint)
    rows, meta = about.images, collector.dataset_meta
    num_classes = len(meta['classes'])
    image = np.repeat(np.arange(len(rows)), [len(row['pair']) for row in rows])
    true, predicted = np.divmod(np.concatenate([row['pair'] for row in rows]), num_classes)
    pixels = np.concatenate([row['pixels'] for row in rows])
    order = np.argsort(image_ious(image, true, predicted, pixels, len(rows), num_classes))
    shown = dict.fromkeys([*order[:SHOWN].tolist(), *order[-SHOWN:].tolist()])
    maps = {index: tuple(_from_png(one) for one in rows[index]['maps']) for index in shown}
    palette = meta.get('palette') or [(37 * index % 256, 91 * index % 256, 151 * index % 256)
                                      for index in range(1, num_classes + 1)]
    return Segmentation(tuple(meta['classes']), [list(map(int, colour)) for colour in palette],
                        [row['img_path'] for row in rows], image, true, predicted, pixels, maps, about)


def save_segmentation(file: Path, key: str, result: Segmentation) -> None:
    maps = {index: [base64.b64encode(_to_png(one)).decode() for one in pair] for index, pair in result.maps.items()}
    about = dict(format=_FORMAT, key=key, classes=result.classes, palette=result.palette, img_paths=result.img_paths,
                 maps=maps, metrics=result.about.metrics, origin=result.about.origin,
                 num_parameters=result.about.num_parameters)
    arrays = {name: getattr(result, name) for name in ('image', 'true', 'predicted', 'pixels')}
    np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)


def load_segmentation(file: Path, key: str) -> Segmentation | None:
    """The result that was kept under this key, None if there is none."""
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as content:
            about = json.loads(str(content['about']))
            if about['format'] != _FORMAT or about['key'] != key:
                return None
            arrays = [content[name] for name in ('image', 'true', 'predicted', 'pixels')]
    except (ValueError, KeyError, OSError, EOFError):  # written by half
        return None
    maps = {int(index): tuple(_from_png(base64.b64decode(one)) for one in pair)
            for index, pair in about['maps'].items()}
    return Segmentation(tuple(about['classes']), about['palette'], about['img_paths'], *arrays, maps,
                        Predictions([], about['metrics'], about['origin'], about['num_parameters']))


def _to_png(labels: np.ndarray) -> bytes:
    return cv2.imencode('.png', labels.astype(np.uint16 if labels.max(initial=0) > 255 else np.uint8))[1].tobytes()


def _from_png(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
