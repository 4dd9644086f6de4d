"""Samples of a data set, drawn before and after its pipeline."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmdet.models.utils import samplelist_boxtype2tensor
from mmdet.visualization import get_palette
from mmengine.config import Config
from mmengine.registry import DATASETS, VISUALIZERS, init_default_scope

from detrove.datasets.wrappers import innermost_datasets

_SMALL = 480  # pixels; smaller images are enlarged, so that names can be read


@dataclass(frozen=True)
class Picture:
    """An image before and after augmentation.

    Attributes:
        name: File name of the image.
        original, augmented: Files with the drawings.
        original_objects, augmented_objects: class -> number of objects; for label maps 1 for each class that occurs.
        original_wh, augmented_wh: Sizes in pixels.
        remark: What a person should know of this one.
    """

    name: str
    original: Path
    augmented: Path
    original_objects: Mapping[str, int]
    augmented_objects: Mapping[str, int]
    original_wh: tuple[int, int]
    augmented_wh: tuple[int, int]
    remark: str = ''


def draw_samples(
    cfg: Config, folder: Path, *, split: str = 'train', number: int = 48, seed: int = 0
) -> Iterator[Picture]:
    """Draw images of a data set with boxes, masks, label maps and names, as files below `folder`.

    Images are taken evenly from the whole set. What is done to whole batches (`data_preprocessor.batch_augments`,
    normalisation) is not shown.

    Args:
        cfg: The complete config.
        folder: An existing folder.
        split: `train`, `val` or `test`.
        number: Of images; fewer if the set has fewer.
        seed: Of the augmentation.

    Raises:
        ValueError: If the config has no data set for the split, or its pipeline packs no sample.
    """
    dataset = _build(cfg, split)
    inner = next(innermost_datasets(dataset), dataset)
    visualizer = _visualizer(cfg, inner.metainfo)
    load_only = _loading(inner)
    _seed(seed)
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(number, len(dataset))).astype(int))
    for place, index in enumerate(indices.tolist()):
        after = dataset[index]
        path = after['data_samples'].metainfo.get('img_path', '')
        before = load_only(_info_of(dataset, index))
        same = path == before['data_samples'].metainfo.get('img_path', '')
        stem = f'{place:04d}_{Path(path).stem}'
        files = [folder / f'{stem}_{name}.jpg' for name in ('original', 'augmented')]
        for packed, file in zip((before, after), files, strict=True):
            _draw(visualizer, packed, file)
        counts = [_objects(packed['data_samples'], inner.metainfo) for packed in (before, after)]
        sizes = [tuple(packed['inputs'].shape[-1:-3:-1]) for packed in (before, after)]
        remark = '' if same else f'the pipeline gave up this image and took {Path(path).name}'
        yield Picture(Path(before['data_samples'].metainfo.get('img_path', stem)).name, *files, *counts, *sizes, remark)


def _build(cfg: Config, split: str):
    settings = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
    if settings is None:
        raise ValueError(f'{cfg.filename} has no {split}_dataloader.dataset')
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    dataset = DATASETS.build(settings)
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    return dataset


def _loading(inner):
    """The steps of a pipeline that read files, and the one that packs."""
    from mmengine.dataset import Compose

    transforms = [one for one in inner.pipeline.transforms if type(one).__name__.startswith('Load')]
    pack = next((one for one in reversed(inner.pipeline.transforms) if type(one).__name__.startswith('Pack')), None)
    if pack is None:
        raise ValueError(f'the pipeline of {type(inner).__name__} has no step that packs inputs (PackDetInputs, '
                         'PackSegInputs): there is nothing to show')
    return Compose([*transforms, pack])


def _info_of(dataset, index: int) -> dict:
    while not hasattr(dataset, 'get_data_info'):  # MultiImageMixDataset
        dataset = dataset.dataset
    return dataset.get_data_info(index)


def _visualizer(cfg: Config, meta: Mapping):
    segmentation = cfg.get('default_scope') == 'mmseg'
    kind = 'mmseg.SegLocalVisualizer' if segmentation else 'mmdet.DetLocalVisualizer'
    visualizer = VISUALIZERS.build(dict(type=kind, name='browse_dataset', alpha=0.5))
    classes = list(meta.get('classes') or ())
    palette = meta.get('palette') or get_palette('coco', len(classes))
    visualizer.dataset_meta = dict(classes=classes, palette=[tuple(color) for color in palette])
    return visualizer


def _draw(visualizer, packed: Mapping, file: Path) -> None:
    image = packed['inputs'].permute(1, 2, 0).numpy()
    image = np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8)[..., ::-1])  # BGR to RGB
    (sample,) = samplelist_boxtype2tensor([packed['data_samples']]) or [packed['data_samples']]
    visualizer.add_datasample(file.stem, image, sample, draw_gt=True, draw_pred=False, out_file=str(file))
    drawn = mmcv.imread(str(file))
    if max(drawn.shape[:2]) < _SMALL:
        mmcv.imwrite(mmcv.imrescale(drawn, (_SMALL, _SMALL), interpolation='nearest'), str(file))


def _objects(sample, meta: Mapping) -> dict[str, int]:
    names = list(meta.get('classes') or ())
    if 'gt_instances' in sample and 'labels' in sample.gt_instances:
        labels = sample.gt_instances.labels.tolist()
    elif 'gt_sem_seg' in sample:
        maps = getattr(sample.gt_sem_seg, 'data', None)
        maps = sample.gt_sem_seg.sem_seg if maps is None else maps
        labels = [label for label in torch.unique(maps).tolist() if label < len(names)]
    else:
        labels = []
    return dict(Counter(names[label] if label < len(names) else f'label {label}' for label in labels))


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
