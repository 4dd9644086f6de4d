"""What images a file takes: the sizes, the order of channels and the normalisation that a config asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

from detrove.inference import ImagePipeline, find_images
from detrove.inference.predict import is_step, pipeline_steps

STRIDE = 32  # sides of networks of any size are multiples of it, so that levels fit into each other
NUM_SAMPLES = 4


@dataclass(frozen=True)
class ImageSpec:
    """Sizes of the images that a file takes and of what its network sees.

    Attributes:
        size_hw: of the network's input; an example of it if `free_network`.
        free_network: the network takes any size (sides multiples of `STRIDE`).
        resize_inside: the file takes images of any size and brings them to `size_hw` itself.
        resize_scale: (long, short) side that the config resizes images to, keeping their shape; None if it does not
            keep it.
    """

    size_hw: tuple[int, int]
    free_network: bool = False
    resize_inside: bool = False
    resize_scale: tuple[int, int] | None = None


def image_spec(config: Config, model: nn.Module, *, size_hw: tuple[int, int] | None, dynamic: bool,
               with_preprocessing: bool) -> ImageSpec:
    """Read from the config's test pipeline what a file has to take.

    Args:
        config, model: as `init_model` takes and returns them.
        size_hw: of the network's input; None for the config's.
        dynamic: whether the file is to take images of any size.
        with_preprocessing: whether it takes pixels, and so may resize them.

    Raises:
        ValueError: if there is no size to be found, or one that the model would pad.
    """
    resize = next((step for step in pipeline_steps(config) if is_step(step, '', 'Resize')), {})
    scale = resize.get('scale')
    keeps_ratio = bool(resize.get('keep_ratio'))
    preprocessor = model.data_preprocessor
    if size_hw is None:
        size_hw = getattr(preprocessor, 'size', None) or (None if scale is None else tuple(scale[::-1]))
    if size_hw is None:
        raise ValueError(f'{config.filename}: the test pipeline has no Resize step with a scale, so that the size of '
                         'the input is unknown. Give it: --size HEIGHT WIDTH')
    size_hw = tuple(int(side) for side in size_hw)
    divisors = [getattr(preprocessor, 'pad_size_divisor', 1),
                (getattr(preprocessor, 'test_cfg', None) or {}).get('size_divisor') or 1]
    free_network = dynamic and (keeps_ratio or not with_preprocessing or scale is None)
    divisor = max([*divisors, STRIDE if free_network else 1])
    if free_network:
        size_hw = tuple(-(-side // divisor) * divisor for side in size_hw)
    elif any(side % divisor for side in size_hw):
        proposed = ' '.join(str(-(-side // divisor) * divisor) for side in size_hw)
        raise ValueError(f'size {size_hw[0]} x {size_hw[1]}: this model pads sides to multiples of {divisor}, which a '
                         f'file does not. Take e.g. --size {proposed}')
    long_short = tuple(sorted((int(side) for side in scale), reverse=True)) if keeps_ratio else None
    return ImageSpec(size_hw, free_network, dynamic and not free_network, long_short)


class Preprocess(nn.Module):
    """Pixels as a file's user has them to the input of the network.

    Args:
        preprocessor: of the model, for mean, standard deviation and order of channels.
        resize_hw: size to resize to, with the bilinear samples of cv2, but not rounded to whole grey levels as it does,
            where runtimes would differ; None for images that have the right size.
    """

    def __init__(self, preprocessor: nn.Module, resize_hw: tuple[int, int] | None):
        super().__init__()
        one = torch.ones(3, 1, 1)
        normalises = getattr(preprocessor, '_enable_normalize', False)
        self.register_buffer('mean', preprocessor.mean.float().clone() if normalises else 0 * one)
        self.register_buffer('std', preprocessor.std.float().clone() if normalises else one)
        self.wants_bgr = not preprocessor._channel_conversion  # pipelines read BGR
        self.resize_hw = resize_hw

    def forward(self, image: Tensor) -> Tensor:
        """image (B, H, W, 3) uint8 RGB -> (B, 3, h, w) float32, normalised."""
        x = image.permute(0, 3, 1, 2).float()
        if self.resize_hw is not None:
            x = F.interpolate(x, self.resize_hw, mode='bilinear', align_corners=False)
        if self.wants_bgr:
            x = torch.cat([x[:, 2:], x[:, 1:2], x[:, :1]], 1)
        return (x - self.mean) / self.std


@dataclass(frozen=True)
class SampleBatch:
    """Images to compare a file with its model on.

    Attributes:
        images: (B, H, W, 3) uint8 RGB, as the file's user gives them.
        pixels: (B, 3, h, w) BGR, what the model's preprocessor gets of them.
    """

    images: np.ndarray
    pixels: Tensor


def sample_batches(spec: ImageSpec, config: Config, sources: Sequence[str],
                   batch_sizes: Sequence[int]) -> list[SampleBatch]:
    """Batches of sample images, one of each batch size, each of images of one size.

    Args:
        spec: what the file takes; a file for any size gets batches of different sizes.
        config: says how files are read.
        sources: image files, folders and patterns; none for drawings like those of the built-in data.
        batch_sizes: of the batches.

    Raises:
        FileNotFoundError, ValueError: of images that cannot be read.
    """
    images_bgr = _read(config, sources) if sources else _draw()
    batches, start = [], 0
    for number, size in enumerate(batch_sizes):
        chosen = [images_bgr[(start + offset) % len(images_bgr)] for offset in range(size)]
        start += size
        own_hw = chosen[0].shape[:2]
        if spec.free_network:
            factor = 1 if number == 0 else 0.75
            network_hw = tuple(max(STRIDE, round(side * factor / STRIDE) * STRIDE) for side in spec.size_hw)
        else:
            network_hw = spec.size_hw
        given_hw = own_hw if spec.resize_inside else network_hw
        images = np.stack([_resized(image, given_hw)[..., ::-1] for image in chosen])
        batches.append(SampleBatch(images, _network_pixels(images, spec)))
    return batches


def _network_pixels(images: np.ndarray, spec: ImageSpec) -> Tensor:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).flip(1)
    if spec.resize_inside:
        pixels = F.interpolate(pixels.float(), spec.size_hw, mode='bilinear', align_corners=False)
    return pixels


def _resized(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    return image if image.shape[:2] == size_hw else cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_LINEAR)


def _read(config: Config, sources: Sequence[str]) -> list[np.ndarray]:
    pipeline = ImagePipeline(config)
    found = find_images([Path(source) for source in sources])[:8 * NUM_SAMPLES]
    return [np.clip(pipeline.read(image.path), 0, 255).astype(np.uint8) for image in found]


def _draw() -> list[np.ndarray]:
    from detrove.datasets.shapes_drawing import ShapesSettings, draw

    return [draw(ShapesSettings(), split_index=1, image_index=index).image_bgr for index in range(NUM_SAMPLES)]
