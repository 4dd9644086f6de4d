"""Results as files: drawings and drawn videos, label maps, COCO, YOLO and CSV."""

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.structures import BaseDataElement

from .drawing import Drawer, label_map_of
from .sources import ImageFile
from .videos import Frame


class Writer(ABC):
    """Writes the results of one image or frame after the other; those of a video come together.

    Args:
        out: Folder that all formats share.
        dataset_meta: `classes`, and `palette` where known.
    """

    target: str  # what it writes inside `out`

    def __init__(self, out: Path, dataset_meta: dict):
        self.path = out / self.target
        self.dataset_meta = dataset_meta

    @abstractmethod
    def add(self, image: ImageFile | Frame, image_bgr: np.ndarray, sample: BaseDataElement) -> None:
        """Write the results of an image or frame whose pixels these are."""

    def close(self) -> None:  # noqa: B027  most have nothing left to do
        """Write what has to wait for the last image."""

    def file(self, name: str, suffix: str) -> Path:
        """A file for one image below `path`, its folder made."""
        file = (self.path / name).with_suffix(suffix)
        file.parent.mkdir(parents=True, exist_ok=True)
        return file


class DrawWriter(Writer):
    """`draw/`: images with their results on them, in the image's format where OpenCV writes it, as PNG otherwise.

    A video becomes one MP4 (MPEG-4 Part 2, which every build of OpenCV with FFmpeg writes).
    """

    target = 'draw'

    def __init__(self, out: Path, dataset_meta: dict):
        super().__init__(out, dataset_meta)
        self.draw = Drawer(dataset_meta)
        self.video, self.stream = None, None  # name and cv2.VideoWriter of the video that is being written

    def add(self, image: ImageFile | Frame, image_bgr: np.ndarray, sample: BaseDataElement) -> None:
        drawn = self.draw(image_bgr, sample)
        if isinstance(image, Frame):
            self._add_frame(image, drawn)
            return
        suffix = Path(image.name).suffix.lower()
        file = self.file(image.name, suffix if suffix in ('.jpg', '.jpeg', '.png', '.bmp', '.webp') else '.png')
        _write_image(file, drawn)

    def close(self) -> None:
        if self.stream is not None:
            self.stream.release()

    def _add_frame(self, frame: Frame, drawn: np.ndarray) -> None:
        if frame.video != self.video:
            self.close()
            file = self.file(frame.video, '.mp4')
            size_wh = drawn.shape[1], drawn.shape[0]
            self.video = frame.video
            self.stream = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*'mp4v'), frame.fps, size_wh)
            if not self.stream.isOpened():
                raise OSError(0, 'this OpenCV cannot write MP4 videos (it was built without FFmpeg)', str(file))
        self.stream.write(drawn)


class MapWriter(Writer):
    """`map/`: the class index of each pixel as PNG, 8 bits, 16 where there are more than 256 classes."""

    target = 'map'

    def add(self, image: ImageFile | Frame, image_bgr: np.ndarray, sample: BaseDataElement) -> None:
        if 'pred_sem_seg' not in sample:
            raise ValueError('--format map writes the maps of semantic segmentors, and this model predicts none')
        labels = label_map_of(sample)
        kind = np.uint8 if len(self.dataset_meta.get('classes', ())) <= 256 else np.uint16
        _write_image(self.file(image.name, '.png'), labels.astype(kind))


class CocoWriter(Writer):
    """`coco.json`: `images`, `categories` and, under `annotations`, the detections with their scores.

    Labelling tools read it as annotations. Ids start at 1; `category_id` counts the classes in the model's order.
    Frames of videos have a `video_id`, which `videos` lists, and a `frame_id` from 0, as in the CocoVID format.
    """

    target = 'coco.json'

    def __init__(self, out: Path, dataset_meta: dict):
        super().__init__(out, dataset_meta)
        self.images, self.annotations = [], []
        self.video_ids = {}

    def add(self, image: ImageFile | Frame, image_bgr: np.ndarray, sample: BaseDataElement) -> None:
        from detrove.evaluation.coco_format import compact_prediction, to_coco_results

        height, width = image_bgr.shape[:2]
        instances = instances_of(sample, 'coco')
        image_id = len(self.images) + 1
        self.images.append(dict(id=image_id, file_name=image.name, width=width, height=height))
        if isinstance(image, Frame):
            video_id = self.video_ids.setdefault(image.video, len(self.video_ids) + 1)
            self.images[-1].update(video_id=video_id, frame_id=image.index)
        prediction = compact_prediction(dict(pred_instances=instances, img_id=image_id))
        category_ids = range(1, len(class_names(self.dataset_meta, instances)) + 1)
        for result in to_coco_results([prediction], category_ids):
            area = result['bbox'][2] * result['bbox'][3]
            self.annotations.append(dict(id=len(self.annotations) + 1, iscrowd=0, area=area, **result))

    def close(self) -> None:
        highest = max((annotation['category_id'] for annotation in self.annotations), default=0)
        names = [*self.dataset_meta.get('classes', ())]
        names += [str(label) for label in range(len(names), highest)]
        categories = [dict(id=index, name=name) for index, name in enumerate(names, start=1)]
        content = dict(images=self.images, annotations=self.annotations, categories=categories)
        if self.video_ids:
            content['videos'] = [dict(id=video_id, name=name) for name, video_id in self.video_ids.items()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(content), encoding='utf-8')


class YoloWriter(Writer):
    """`yolo/`: a text file for each image with lines `class cx cy width height score`, relative to the image's size."""

    target = 'yolo'

    def add(self, image: ImageFile | Frame, image_bgr: np.ndarray, sample: BaseDataElement) -> None:
        height, width = image_bgr.shape[:2]
        lines = []
        for label, score, (left, top, right, bottom) in _rows(instances_of(sample, 'yolo')):
            box = ((left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width,
                   (bottom - top) / height)
            lines.append(f'{label} ' + ' '.join(f'{value:.6f}' for value in (*box, score)))
        self.file(image.name, '.txt').write_text(''.join(f'{line}\n' for line in lines), encoding='utf-8')

    def close(self) -> None:
        names = self.dataset_meta.get('classes', ())
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / 'classes.names').write_text(''.join(f'{name}\n' for name in names), encoding='utf-8')


class CsvWriter(Writer):
    """`detections.csv`: a line for each detection; corners in pixels of the original image.

    `frame` counts the frames of a video from 0 and is empty for images.
    """

    target = 'detections.csv'

    def __init__(self, out: Path, dataset_meta: dict):
        super().__init__(out, dataset_meta)
        self.stream = None

    def add(self, image: ImageFile | Frame, image_bgr: np.ndarray, sample: BaseDataElement) -> None:
        instances = instances_of(sample, 'csv')
        names = class_names(self.dataset_meta, instances)
        file, frame = (image.video, image.index) if isinstance(image, Frame) else (image.name, '')
        self._open()
        for label, score, box in _rows(instances):
            corners = [f'{value:.2f}' for value in box]
            row = [file, label, names[label], f'{score:.6f}', *corners, frame]
            csv.writer(self.stream).writerow(row)

    def close(self) -> None:
        self._open()
        self.stream.close()

    def _open(self) -> None:
        if self.stream is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.stream = self.path.open('w', newline='', encoding='utf-8')
            csv.writer(self.stream).writerow(['image', 'label', 'class', 'score', 'x1', 'y1', 'x2', 'y2', 'frame'])


WRITERS = {'draw': DrawWriter, 'map': MapWriter, 'coco': CocoWriter, 'yolo': YoloWriter, 'csv': CsvWriter}


def make_writers(formats: Sequence[str], out: Path, dataset_meta: dict, *, overwrite: bool) -> list[Writer]:
    """A writer for each format.

    Raises:
        ValueError: For an unknown format.
        FileExistsError: If one of them would write where something is, and `overwrite` is off.
    """
    unknown = [name for name in formats if name not in WRITERS]
    if unknown or not formats:
        raise ValueError(f'format {", ".join(unknown) or "(none)"}: choose from {", ".join(WRITERS)}')
    writers = [WRITERS[name](out, dataset_meta) for name in dict.fromkeys(formats)]
    there = [str(writer.path) for writer in writers if _holds_something(writer.path)]
    if there and not overwrite:
        raise FileExistsError(f'{", ".join(there)}: there is something already. Choose another folder (--out), or pass '
                              '--overwrite to replace what has the same name.')
    return writers


def instances_of(sample: BaseDataElement, format: str):
    """The detections of a sample.

    Raises:
        ValueError: If it has none, as those of segmentors.
    """
    if 'pred_instances' not in sample:
        raise ValueError(f'--format {format} writes detections, and this model predicts none. Use draw'
                         + (' or map' if 'pred_sem_seg' in sample else ''))
    return sample.pred_instances


def class_names(dataset_meta: dict, instances) -> list[str]:
    """Names by label; numbers for labels without one."""
    highest = int(instances.labels.max()) + 1 if len(instances) else 0
    names = list(dataset_meta.get('classes', ()))
    return names + [str(label) for label in range(len(names), highest)]


def _rows(instances):
    return zip(instances.labels.tolist(), instances.scores.tolist(), instances.bboxes.tolist(), strict=True)


def _holds_something(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _write_image(file: Path, image: np.ndarray) -> None:
    if not cv2.imwrite(str(file), image):
        raise OSError(0, 'OpenCV could not write it', str(file))
