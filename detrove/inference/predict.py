"""From images to data samples, with the test pipeline of the model's config."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import BaseDataElement, InstanceData
from torch import nn

from detrove.datasets.image_file import UnreadableImage
from detrove.datasets.wrappers import innermost_settings

from .tiles import Tile, make_tiles, merge_tiles

Image = str | Path | np.ndarray


class ImagePipeline:
    """The test pipeline of a config in two parts, reading and the rest, without its annotations.

    Args:
        config: A config with `test_dataloader`.
        scale: Factor of the size to which the pipeline resizes images; sides are whole multiples of 32.

    Raises:
        ValueError: If it has no test pipeline, or one that does not read images, or there is nothing to scale.
    """

    def __init__(self, config: Config, *, scale: float = 1.0):
        init_default_scope(config.get('default_scope', 'mmdet'))
        steps = [step for step in pipeline_steps(config) if not is_step(step, 'Load', 'Annotations')]
        reading = [index for index, step in enumerate(steps) if is_step(step, 'LoadImage', '')]
        if len(reading) != 1 or reading[0] != 0:
            raise ValueError(f'{_name(config)}: the test pipeline has to begin with LoadImageFromFile and read '
                             f'images once; its steps are {", ".join(step["type"] for step in steps)}')
        self._read = Compose(steps[:1])
        self._rest = Compose(_scaled(steps[1:], scale, _name(config)))
        self._as_float = bool(steps[0].get('to_float32'))

    def read(self, path: str | Path) -> np.ndarray:
        """Pixels (H, W, 3), BGR unless the config says otherwise.

        Raises:
            FileNotFoundError: If there is no such file.
            UnreadableImage: If it is no image.
        """
        try:
            image = self._read(dict(img_path=str(path)))['img']
        except UnreadableImage:
            raise
        except OSError as error:
            if error.filename is not None:
                raise
            raise UnreadableImage(f'{path} cannot be read as an image: {error}') from error
        except (AssertionError, AttributeError, TypeError, ValueError, cv2.error) as error:  # as the decoder has it
            raise UnreadableImage(f'{path} cannot be read as an image: it is empty, damaged or none') from error
        return image

    def pack(self, image: np.ndarray, *, path: str = '', image_id: int = 0) -> dict:
        """`inputs` and `data_samples` of one image.

        Args:
            image: (H, W, 3) as `read` returns it, or (H, W), 0 to 255.

        Raises:
            ValueError: If it has another shape.
        """
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f'image {path or image_id}: shape {image.shape}, expected (height, width, 3) or '
                             '(height, width)')
        if self._as_float:
            image = image.astype(np.float32)
        size_hw = image.shape[:2]
        return self._rest(dict(img=image, img_path=path, img_id=image_id, img_shape=size_hw, ori_shape=size_hw))


def predict_images(model: nn.Module, images: Iterable[Image], *, batch_size: int = 1, score_thr: float = 0.0,
                   tile: int | None = None, overlap: float = 0.2,
                   pipeline: ImagePipeline | None = None) -> Iterator[BaseDataElement]:
    """Predict images one batch after the other.

    Args:
        model: As `detrove.init_model` returns it: in eval mode, its config at `model.cfg`.
        images: Paths, or arrays (H, W, 3) in BGR, 0 to 255. Read when their batch comes.
        batch_size: How many the model gets at once. Semantic segmentors get images of different sizes one by one.
        score_thr: Instances with lower scores are dropped, 0 to 1.
        tile: Predict overlapping squares of this many pixels and merge their boxes, for images with objects too small
            when the pipeline has resized them. Boxes only. Batches are then of an image's tiles.
        overlap: Share of a tile's side that its neighbour has too, at least; best above the size of most objects.
        pipeline: That of `model.cfg` by default.

    Yields:
        One `DetDataSample` or `SegDataSample` of each image, in their order, on the CPU. Boxes are xyxy in pixels of
        the original image.

    Raises:
        ValueError: If the batch size is below 1, or a model of masks or label maps is given tiles; UnreadableImage for
            a file that is no image.
        FileNotFoundError: If a file is not there.
    """
    if batch_size < 1:
        raise ValueError(f'batch_size {batch_size}: at least 1')
    pipeline = pipeline or ImagePipeline(model.cfg)
    if tile is not None:
        for index, image in enumerate(images):
            yield _predict_tiles(model, pipeline, image, index, batch_size, score_thr, (tile, overlap))
        return
    packed = (_pack(pipeline, image, index) for index, image in enumerate(images))
    while batch := list(islice(packed, batch_size)):
        for sample in predict_packed(model, batch):
            yield drop_low_scores(sample.cpu(), score_thr)


@torch.no_grad()
def predict_packed(model: nn.Module, packed: Sequence[dict]) -> list[BaseDataElement]:
    """The model's answer to what `ImagePipeline.pack` made."""
    samples = []
    for batch in _batches_that_fit(model, packed):
        samples += _answers(model, batch)
    return samples


@torch.no_grad()
def predict_parts(model: nn.Module, packed: Iterable[dict], tiles: Sequence[Tile], size_hw: tuple[int, int], *,
                  batch_size: int, score_thr: float = 0.0) -> InstanceData:
    """What a detector finds in an image that it sees in tiles.

    Args:
        packed: `inputs` and `data_samples` of each tile, as `ImagePipeline.pack` makes them.
        tiles: Where they lie, see `make_tiles`.
        size_hw: Size of the image.

    Returns:
        Merged by `merge_tiles`, on the CPU.

    Raises:
        ValueError: If the model predicts masks or label maps.
    """
    packed = iter(packed)
    found = []
    while batch := list(islice(packed, batch_size)):
        for sample in _answers(model, batch):
            _refuse_tiles_of_masks(model, sample)
            found.append(drop_low_scores(sample.cpu(), score_thr).pred_instances)
    return merge_tiles(found, tiles, size_hw)


def _answers(model: nn.Module, packed: Sequence[dict]) -> list[BaseDataElement]:
    return model.test_step({key: [one[key] for one in packed] for key in ('inputs', 'data_samples')})


def drop_low_scores(sample: BaseDataElement, score_thr: float) -> BaseDataElement:
    """The sample with those instances that have at least this score."""
    if score_thr > 0 and 'pred_instances' in sample:
        sample.pred_instances = sample.pred_instances[sample.pred_instances.scores >= score_thr]
    return sample


def _pack(pipeline: ImagePipeline, image: Image, index: int) -> dict:
    if isinstance(image, np.ndarray):
        return pipeline.pack(image, image_id=index)
    return pipeline.pack(pipeline.read(image), path=str(image), image_id=index)


def _predict_tiles(model: nn.Module, pipeline: ImagePipeline, image: Image, index: int, batch_size: int,
                   score_thr: float, tile_and_overlap: tuple[int, float]) -> BaseDataElement:
    path = '' if isinstance(image, np.ndarray) else str(image)
    pixels = image if isinstance(image, np.ndarray) else pipeline.read(image)
    tiles = make_tiles(pixels.shape[:2], *tile_and_overlap)
    packed = (pipeline.pack(pixels[tile.top:tile.bottom, tile.left:tile.right], path=path, image_id=index)
              for tile in tiles)
    whole = DetDataSample(metainfo=dict(img_id=index, img_path=path, ori_shape=pixels.shape[:2]))
    whole.pred_instances = predict_parts(model, packed, tiles, pixels.shape[:2], batch_size=batch_size,
                                         score_thr=score_thr)
    return whole


def _refuse_tiles_of_masks(model: nn.Module, sample: BaseDataElement) -> None:
    if 'pred_instances' not in sample:
        raise ValueError(f'tiles are merged for boxes, and {type(model).__name__} predicts none. Semantic segmentors '
                         "have sliding windows of their own: model.test_cfg = dict(mode='slide', crop_size=..., "
                         'stride=...)')
    if 'masks' in sample.pred_instances:
        raise ValueError(f'tiles are merged for boxes, and {type(model).__name__} predicts masks too. Run it without '
                         'tiles')


def _batches_that_fit(model: nn.Module, packed: Sequence[dict]) -> Iterator[list[dict]]:
    """mmseg's preprocessor pads no image to the size of another one."""
    if model.cfg.get('default_scope') != 'mmseg':
        yield list(packed)
        return
    for _, batch in groupby(packed, key=lambda one: one['inputs'].shape):
        yield list(batch)


def pipeline_steps(config: Config) -> list[dict]:
    """The steps of a config's test pipeline; ValueError if it has none."""
    dataset = innermost_settings(config.get('test_dataloader', {}).get('dataset', {}))
    pipeline = dataset.get('pipeline') or config.get('test_pipeline')
    if not pipeline:
        raise ValueError(f'{_name(config)} has no test pipeline: neither test_dataloader.dataset.pipeline nor '
                         'test_pipeline')
    return copy.deepcopy(list(pipeline))


def _scaled(steps: Sequence[dict], scale: float, name: str) -> list[dict]:
    """The steps with other sizes to resize to, in multiples of what backbones divide images by."""
    if scale == 1:
        return list(steps)
    sized = [index for index, step in enumerate(steps) if is_step(step, '', 'Resize') and 'scale' in step]
    if len(sized) != 1:
        raise ValueError(f'{name}: images are seen {scale} times as large by the `scale` of one Resize step, and the '
                         f'test pipeline has {len(sized)} such steps. Use the scale 1 alone.')
    step = steps[sized[0]]
    sides = [step['scale']] * 2 if isinstance(step['scale'], int) else step['scale']
    sides = tuple(max(32, round(side * scale / 32) * 32) for side in sides)
    return [*steps[:sized[0]], {**step, 'scale': sides}, *steps[sized[0] + 1:]]


def is_step(step: dict, start: str, end: str) -> bool:
    """Whether the name of a step, without its scope, starts and ends so."""
    name = str(step['type']).rpartition('.')[2]
    return name.startswith(start) and name.endswith(end)


def _name(config: Config) -> str:
    return config.filename or 'the config'
