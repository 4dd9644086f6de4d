"""Images to look at: best, worst and most confidently wrong, with what was found and what is there."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from detrove.engine.visualizer import draw_label_map

from .error_types import KINDS, ErrorTypes
from .matching import Matches
from .objects import Detections, Truth

WIDTH, QUALITY = 420, 80  # of one drawing, pixels and JPEG's scale
RIGHT_RGB, WRONG_RGB = (0, 158, 255), (255, 92, 0)  # told apart by colour-blind eyes, on dark and on bright
SHOWN = 6


@dataclass(frozen=True)
class ImageResult:
    """How an image went, at a score threshold and IoU 0.5.

    Attributes:
        right, wrong, missed: numbers of detections and of objects that were not found.
    """

    index: int
    right: int
    wrong: int
    missed: int

    @property
    def f1(self) -> float:
        return 2 * self.right / max(2 * self.right + self.wrong + self.missed, 1)


def image_results(truth: Truth, detections: Detections, matches: Matches, score_thr: float) -> list[ImageResult]:
    """Counts for each image."""
    num_images = len(truth.image_ids)
    used = (detections.scores >= score_thr) & matches.counted[0]
    right = np.bincount(detections.image[used & matches.right[0]], minlength=num_images)
    wrong = np.bincount(detections.image[used & ~matches.right[0]], minlength=num_images)
    objects = np.bincount(truth.image[~truth.crowd], minlength=num_images)
    return [ImageResult(index, int(right[index]), int(wrong[index]), int(objects[index] - right[index]))
            for index in range(num_images)]


def best_images(results: Sequence[ImageResult], count: int = SHOWN) -> list[int]:
    """Those with the highest F1, of equal ones those with more objects; only images with objects."""
    with_objects = [one for one in results if one.right + one.missed]
    return [one.index for one in sorted(with_objects, key=lambda one: (-one.f1, -one.right))[:count]]


def worst_images(results: Sequence[ImageResult], count: int = SHOWN) -> list[int]:
    """Those with the lowest F1, of equal ones those with more errors; none without errors."""
    with_errors = [one for one in results if one.wrong + one.missed]
    return [one.index for one in sorted(with_errors, key=lambda one: (one.f1, -one.wrong - one.missed))[:count]]


def confidently_wrong(detections: Detections, errors: ErrorTypes, count: int = SHOWN) -> list[tuple[int, int]]:
    """Image and detection of the wrong detections with the highest scores, one of an image."""
    wrong = np.flatnonzero(errors.kind >= 0)
    wrong = wrong[np.argsort(-detections.scores[wrong], kind='stable')]
    _, first = np.unique(detections.image[wrong], return_index=True)
    return [(int(detections.image[index]), int(index)) for index in wrong[np.sort(first)[:count]]]


def draw_truth(image_rgb: np.ndarray, truth: Truth, objects: np.ndarray, found: set[int]) -> np.ndarray:
    """The annotated objects of an image, found ones in one colour, missed and crowd ones in the other."""
    colours = [RIGHT_RGB if index in found else WRONG_RGB for index in objects]
    texts = [truth.classes[truth.labels[index]] + (' (crowd)' if truth.crowd[index] else '') for index in objects]
    return draw_boxes(image_rgb, truth.boxes_xyxy[objects], colours, texts)


def draw_detections(image_rgb: np.ndarray, truth: Truth, detections: Detections, shown: np.ndarray,
                    kinds: np.ndarray) -> np.ndarray:
    """Detections of an image with class and score, wrong ones with their kind."""
    names = list(KINDS)
    shown = shown[::-1]  # the best scored on top
    colours = [WRONG_RGB if kinds[index] >= 0 else RIGHT_RGB for index in shown]
    texts = [f'{truth.classes[detections.labels[index]]} {detections.scores[index]:.2f}'
             + (f' {names[kinds[index]]}' if kinds[index] >= 0 else '') for index in shown]
    return draw_boxes(image_rgb, detections.boxes_xyxy[shown], colours, texts)


def draw_map(image_rgb: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """A map of classes over its image; pixels of no class stay as they are."""
    labels = cv2.resize(labels, image_rgb.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return fit_width(draw_label_map(image_rgb, labels, palette[:255]))[0]


def read_image(path: str) -> np.ndarray | None:
    """RGB, or None where there is no such image."""
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def fit_width(image_rgb: np.ndarray) -> tuple[np.ndarray, float]:
    """An image scaled to `WIDTH`, and the scale."""
    scale = WIDTH / image_rgb.shape[1]
    size = (WIDTH, max(1, round(image_rgb.shape[0] * scale)))
    return cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), scale


def as_data_url(image_rgb: np.ndarray) -> str:
    """A JPEG that can stand in a page."""
    content = cv2.imencode('.jpg', cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return 'data:image/jpeg;base64,' + base64.b64encode(content.tobytes()).decode()


def draw_boxes(image_rgb: np.ndarray, boxes_xyxy: np.ndarray, colours: Sequence[tuple],
               texts: Sequence[str]) -> np.ndarray:
    """Boxes with a text each on the image, scaled to `WIDTH`; the last ones on top."""
    canvas, scale = fit_width(image_rgb)
    height, width = canvas.shape[:2]
    for box, colour, text in zip(boxes_xyxy * scale, colours, texts, strict=True):
        left, top, right, bottom = (int(value) for value in box.round().clip(0, [width - 1, height - 1] * 2))
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, 2)
        text = text.encode('ascii', 'replace').decode()  # OpenCV's fonts have no other letters
        (text_width, text_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
        left = max(0, min(left, width - text_width - 4))
        top = max(text_height + 5, top)
        cv2.rectangle(canvas, (left, top - text_height - 5), (left + text_width + 4, top), colour, -1)
        cv2.putText(canvas, text, (left + 2, top - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return canvas
