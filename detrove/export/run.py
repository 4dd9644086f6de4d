"""From a model to a file that is known to agree with it."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

import detrove
from detrove.ops.export_form import export_form

from . import formats
from .capture import export_graph, trace
from .compare import FLOAT, HALF, Comparison, Tolerance, compare_detections, compare_labels, compare_maps
from .images import ImageSpec, image_spec, sample_batches
from .networks import PARTS, FileModel, make_file_model
from .pooling import pool_by_products
from .precision import to_half
from .reference import NEARBY, nearby_answers, reference_answers

DYNAMIC_BATCHES = (2, 1, 3)  # images at once that a file with open batch is compared on
_NEARBY_TEXT = (f'all agree with what the model answers where pixels move by up to {NEARBY[-1]:g} of their range: '
                'queries of nearly the same score change places')


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """What to write.

    Attributes:
        format: 'onnx', 'torchexport', 'openvino' or 'torchscript'.
        part: 'model', or 'backbone' for backbone and neck alone.
        preprocessing: the file takes pixels (B, H, W, 3) uint8 RGB instead of normalised inputs (B, 3, H, W) float32.
        postprocessing: the file gives boxes in pixels, scores and labels, or a label map, instead of logits.
        size_hw: of the network's input; None for the config's.
        batch: images at once, where that is fixed.
        dynamic_batch, dynamic_size: any number of images, of any size.
        half: weights and products in float16.
        grid_sample: write bilinear sampling as GridSample instead of gathering.
        fuse: fold norms and re-parametrised branches where the model can.
        images: files to compare on; none for drawings.
        overwrite: replace an existing file.
    """

    format: str
    part: str = 'model'
    preprocessing: bool = True
    postprocessing: bool = True
    size_hw: tuple[int, int] | None = None
    batch: int = 1
    dynamic_batch: bool = False
    dynamic_size: bool = False
    half: bool = False
    grid_sample: bool = False
    fuse: bool = True
    images: tuple[str, ...] = ()
    overwrite: bool = False

    def __post_init__(self):
        if self.format not in formats.SUFFIXES:
            raise ValueError(f'format {self.format!r}: choose from {", ".join(formats.SUFFIXES)}')
        if self.part not in PARTS:
            raise ValueError(f'part {self.part!r}: choose from {", ".join(PARTS)}')
        if self.batch < 1:
            raise ValueError(f'batch {self.batch}: at least 1')
        if self.format == 'torchscript' and (self.dynamic_size or self.dynamic_batch):
            raise ValueError('format torchscript is traced: sizes and the number of images are constants in it. Use '
                             'onnx, openvino or torchexport for --dynamic')


def export_model(model: nn.Module, config: Config, path: str | Path, settings: ExportSettings,
                 say: Callable[[str], None] = print) -> Path:
    """Write a model to a file, run the file, compare it with the model, and keep it if they agree.

    Args:
        model: as `init_model` returns it, on the CPU; it is not changed.
        config: its config.
        path: of the file; its suffix is that of the format.
        settings: what to write.
        say: gets each line of the account.

    Returns:
        The path.

    Raises:
        FileExistsError: if the file is there and `settings.overwrite` is not set.
        ValueError: if a package is missing, the model or a module of it cannot be exported, or the file's answers
            differ from the model's; nothing is left behind then.
    """
    path = Path(path)
    check_target(path, settings)
    spec = image_spec(config, model, size_hw=settings.size_hw, dynamic=settings.dynamic_size,
                      with_preprocessing=settings.preprocessing)
    for note in _notes(model, spec, settings):
        say(f'note: {note}')
    module = _prepared(model, spec, settings)
    sizes = DYNAMIC_BATCHES if settings.dynamic_batch else (settings.batch, settings.batch)
    batches = sample_batches(spec, config, settings.images, sizes)
    pairs = [reference_answers(model, module, batch) for batch in batches]

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix='.export-') as folder:
        draft = Path(folder) / path.name
        _write(module, draft, torch.from_numpy(np.ascontiguousarray(pairs[0][0])), spec, settings,
               _metadata(model, module, spec, settings))
        tolerance = HALF if settings.half else FLOAT
        run = formats.load(settings.format, draft)
        for batch, (given, expected) in zip(batches, pairs, strict=True):
            try:
                found = run(given)
            except Exception as error:  # every runtime has its own
                raise ValueError(f'the {settings.format} file cannot be run on {"x".join(map(str, given.shape))}, and '
                                 f'is not kept: {error}') from error
            compare = partial(_compare, module=module, image_hw=batch.images.shape[1:3], tolerance=tolerance)
            result = compare(found, expected)
            if not result.agrees and any(name.startswith('boxes') for name in module.output_names) and _is_one_of(
                    chain([expected], nearby_answers(model, module, batch)), found, compare):
                result = Comparison(True, f'{result.text}; {_NEARBY_TEXT}')
            say(f'{"x".join(map(str, given.shape))}: {result.text}')
            if not result.agrees:
                raise ValueError(f'the {settings.format} file does not answer as the model does, and is not kept: '
                                 f'{result.text}')
        for part in reversed(formats.companions(draft)):
            os.replace(part, path.parent / part.name)
    return path


def check_target(path: Path, settings: ExportSettings) -> None:
    """What can be wrong before a model is built.

    Raises:
        FileExistsError, ValueError: see `export_model`.
    """
    suffix = formats.SUFFIXES[settings.format]
    if path.suffix != suffix:
        raise ValueError(f'{path}: a file of format {settings.format} ends in {suffix}')
    for part in formats.companions(path):
        if part.exists() and not settings.overwrite:
            raise FileExistsError(f'{part} exists already; --overwrite replaces it, --out names another file')
    formats.check_packages(settings.format)


def _notes(model: nn.Module, spec: ImageSpec, settings: ExportSettings) -> list[str]:
    height, width = spec.size_hw
    notes = []
    if getattr(model, 'mask_branch', None) is not None and settings.part == 'model':
        notes.append('the mask branch is left out: the file gives boxes')
    if spec.resize_scale is not None and not spec.free_network and settings.part == 'model':
        notes.append(f'the config keeps the shape of images; this file is for {height} x {width} (height x width), '
                     'and images of another shape have to be stretched to that. --dynamic size takes them as they are')
    if (getattr(model, 'test_cfg', None) or {}).get('mode') == 'slide':
        notes.append('the config slides a window over the image; the file answers for one window')
    return notes


def _prepared(model: nn.Module, spec: ImageSpec, settings: ExportSettings) -> FileModel:
    """A copy in the form that is written."""
    own = copy.deepcopy(model)
    if settings.fuse and hasattr(own, 'fuse_for_inference'):
        own.fuse_for_inference()
    own = own.to(memory_format=torch.contiguous_format).requires_grad_(False)
    module = make_file_model(own, spec, part=settings.part, preprocessing=settings.preprocessing,
                             postprocessing=settings.postprocessing)
    if spec.free_network:
        pool_by_products(module.network)
    if settings.half:
        to_half(module.network)
    return module


@torch.no_grad()
def _write(module: FileModel, path: Path, example: torch.Tensor, spec: ImageSpec, settings: ExportSettings,
           metadata: dict) -> None:
    with export_form('grid_sample' if settings.grid_sample else 'gather'):
        if settings.format == 'torchscript':
            formats.write_torchscript(trace(module, example), path, metadata)
            return
        program = export_graph(module, example, spec, dynamic_batch=settings.dynamic_batch)
    if settings.format == 'torchexport':
        formats.write_torchexport(program, path, metadata)
        return
    onnx_path = path.with_suffix('.onnx')
    formats.write_onnx(program, onnx_path, module.input_name, module.output_names, metadata,
                       optimize=settings.format == 'openvino')
    if settings.format == 'openvino':
        formats.write_openvino(onnx_path, path, metadata)


def _is_one_of(answers: Iterable[list[np.ndarray]], found: list[np.ndarray],
               compare: Callable[[list, list], Comparison]) -> bool:
    """Whether what was found in each image agrees with one of the answers, whichever."""
    remaining = range(len(found[0]))
    for answer in answers:
        remaining = [image for image in remaining
                     if not compare(*([part[image : image + 1] for part in parts] for parts in (found, answer))).agrees]
        if not remaining:
            return True
    return False


def _compare(found: list[np.ndarray], expected: list[np.ndarray], module: FileModel, image_hw: tuple[int, int],
             tolerance: Tolerance) -> Comparison:
    names = module.output_names
    if names == ('labels',):
        return compare_labels(found, expected, tolerance)
    if 'scores' in names:
        return compare_detections(found, expected, max(image_hw), tolerance)
    if 'boxes_cxcywh' in names:
        return compare_detections(*([boxes, *_best_classes(logits)] for logits, boxes in (found, expected)), 1,
                                  tolerance)
    return compare_maps(found, expected, names, tolerance)


def _best_classes(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 1 / (1 + np.exp(-logits.max(-1))), logits.argmax(-1)


def _metadata(model: nn.Module, module: FileModel, spec: ImageSpec, settings: ExportSettings) -> dict:
    """What a program that runs the file has to know."""
    return dict(
        detrove=detrove.__version__, model=type(model).__name__, part=settings.part,
        classes=list((getattr(model, 'dataset_meta', None) or {}).get('classes') or []),
        input=module.input_name, outputs=list(module.output_names), half=settings.half,
        size_hw=None if spec.free_network or spec.resize_inside else list(spec.size_hw),
        # [long, short] side to resize images to before; their shape stays
        resize_scale=list(spec.resize_scale) if spec.free_network and spec.resize_scale else None,
    )
