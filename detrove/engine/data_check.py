"""Checks of the files that a config names, and of its class names, before anything is built."""

import json
import mmap
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmdet.datasets import CocoDataset
from mmengine.config import Config

from detrove.datasets import CocoDetection, ShapesDataset, ShapesSegDataset
from detrove.datasets.check.classes import classification_heads
from detrove.datasets.check.layout import in_data_root, missing_files

from .config_file import walk_typed
from .signatures import find_registered

_COCO_KEYS = ('images', 'categories')


def path_problems(cfg: Config) -> Iterator[str]:
    """A checkpoint that is not there, or a work directory that cannot be written."""
    checkpoint = cfg.get('load_from')
    if checkpoint and '://' not in checkpoint and not Path(checkpoint).expanduser().is_file():
        yield f'checkpoint not found: {Path(checkpoint).expanduser().absolute()}'
    folder = Path(cfg.work_dir).absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir():
        yield f'work_dir {folder}: {existing} is a file'
    elif not os.access(existing, os.W_OK):
        yield f'work_dir {folder}: no permission to write in {existing}'


def data_problems(cfg: Config, *, phases: Sequence[str], scope: str) -> Iterator[str]:
    """Missing files, files that are not COCO's, class names that a file lacks, heads of another size."""
    for phase in phases:
        loader = cfg.get(f'{phase}_dataloader')
        for path, dataset in _datasets(loader, f'{phase}_dataloader'):
            dataset_class = find_registered(dataset['type'], ('DATASETS',), scope)
            problems = list(_file_problems(dataset, dataset_class, path))
            yield from problems
            classes = None if problems else class_names(dataset, dataset_class)
            if classes is not None:
                yield from _category_problems(dataset, dataset_class, path, classes)
                yield from _head_problems(cfg.model, path, dataset_class, classes)


def _datasets(loader: Mapping | None, path: str) -> Iterator[tuple[str, Mapping]]:
    """The datasets of a loader that read files, those inside wrappers too."""
    for inner_path, node in walk_typed((loader or {}).get('dataset', {}), f'{path}.dataset'):
        if 'ann_file' in node or 'data_prefix' in node:
            yield inner_path, node


def _is_read_from_disk(dataset: Mapping, dataset_class) -> bool:
    drawn = issubclass(dataset_class, (ShapesDataset, ShapesSegDataset))  # on first use
    return not drawn and not dataset.get('backend_args') and '://' not in (dataset.get('data_root') or '')


def _file_problems(dataset: Mapping, dataset_class, path: str) -> Iterator[str]:
    if not _is_read_from_disk(dataset, dataset_class):
        return
    # `seg` may be inherited from a panoptic config
    skip = () if _reads_maps(dataset, dataset_class) else ('seg',)
    yield from (f'{finding.where}: {finding.message}' for finding in missing_files(dataset, path, skip=skip))
    ann_file = dataset.get('ann_file')
    if isinstance(ann_file, str) and '://' not in ann_file and issubclass(dataset_class, (CocoDataset, CocoDetection)):
        file = Path(in_data_root(dataset, ann_file))
        if not ann_file:
            yield f'{path}.ann_file: expected the name of a COCO json, got no name'
        elif file.is_file():
            yield from _coco_problems(file, f'{path}.ann_file')


def _reads_maps(dataset: Mapping, dataset_class) -> bool:
    """Whether `data_prefix.seg` is used; mmdet's CocoDataset has it for configs that load semantic maps too."""
    if dataset_class is not CocoDataset:
        return True
    return any(transform.get('with_seg') for transform in dataset.get('pipeline') or ())


def _coco_problems(file: Path, path: str) -> Iterator[str]:
    with _mapped(file) as content:
        missing = [key for key in _COCO_KEYS if not re.search(rb'"%s"\s*:\s*\[' % key.encode(), content)]
        whole = bool(re.match(rb'\s*\{', content)) and content[-64:].rstrip().endswith(b'}')
    if missing:
        yield f'{path}: {file} is not COCO json: it has no list {" and no list ".join(missing)}'
    elif not whole:
        yield f'{path}: {file} is not complete json: it does not end with a brace; copy or download it again'


def _category_names(file: Path) -> list[str]:
    """The category names of a COCO file, without parsing the rest of it."""
    with _mapped(file) as content:
        start = re.search(rb'"categories"\s*:\s*(?=\[)', content).end()
        text = content[start : start + 2**20].decode('utf-8', errors='replace')
    return [category['name'] for category in json.JSONDecoder().raw_decode(text)[0]]


class _mapped:
    """The bytes of a file, of which only what is looked at is read; an empty file is empty bytes."""

    def __init__(self, file: Path):
        self.file = file.open('rb')
        self.map = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ) if file.stat().st_size else b''

    def __enter__(self):
        return self.map

    def __exit__(self, *_):
        if self.map:
            self.map.close()
        self.file.close()


def class_names(dataset: Mapping, dataset_class) -> list[str] | None:
    """Names of a data set's classes, by its settings, its type or its file; None where they cannot be told."""
    names = (dataset.get('metainfo') or {}).get('classes') or getattr(dataset_class, 'METAINFO', {}).get('classes')
    if isinstance(names, str):
        return [names]  # a tuple of one without its comma
    if names is None and dataset_class is CocoDetection and _is_read_from_disk(dataset, dataset_class):
        names = _category_names(Path(in_data_root(dataset, dataset['ann_file'])))
    return None if names is None else list(names)


def _category_problems(dataset: Mapping, dataset_class, path: str, classes: list[str]) -> Iterator[str]:
    if dataset_class not in (CocoDataset, CocoDetection) or not _is_read_from_disk(dataset, dataset_class):
        return
    file = in_data_root(dataset, dataset['ann_file'])
    names = _category_names(Path(file))
    absent = [name for name in classes if name not in names]
    if absent:
        yield (
            f'{path}: {file} has no categories {absent}\n'
            f'    classes of the dataset ({len(classes)}): {classes}\n'
            f'    categories in the file ({len(names)}): {names}\n'
            f'    set {path}.metainfo.classes to names in the file, and num_classes of the head to their '
            'number'
        )
    elif dataset_class is CocoDataset and [name for name in names if name in classes] != classes:
        yield (
            f'{path}: CocoDataset numbers its labels in the order of the file, so the names in metainfo.classes would '
            f'be given to the wrong labels\n    classes of the dataset: {classes}\n    categories in the file: '
            f'{names}\n'
            f"    use type='CocoDetection', for which the order of the classes is free"
        )


def _head_problems(model: Mapping, path: str, dataset_class, classes: list[str]) -> Iterator[str]:
    if 'language_model' in model:  # its classes are words of a prompt
        return
    # Panoptic data has things and stuff, which have heads of their own.
    parts = [getattr(dataset_class, 'METAINFO', {}).get(key, classes) for key in ('thing_classes', 'stuff_classes')]
    sizes = {len(classes), *map(len, parts)}
    for head_path, head in classification_heads(model):
        if head['num_classes'] not in sizes:
            yield (
                f'{head_path}.num_classes is {head["num_classes"]}, but {path} has {len(classes)} classes: '
                f'{classes}\n'
                f'    set {head_path}.num_classes={len(classes)}, or metainfo.classes of the dataset'
            )
