"""A config's training pipeline on a generated photograph: what loading a batch costs."""

import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.logging import MessageHub
from mmengine.registry import DATASETS

from .contestant import Contestant
from .data_made import make_photographs
from .mm_models import count_classes

SIZE_HW = (480, 640)  # most photographs of COCO


@DATASETS.register_module()
class GeneratedPhotographs(BaseDataset):
    """One photograph under 32 indices, with boxes, outlines, a map of classes and a label."""

    def __init__(self, *, num_objects: int, num_classes: int, pipeline: list, metainfo: Mapping | None = None):
        self.num_objects, self.num_classes = num_objects, num_classes
        self._folder = tempfile.TemporaryDirectory(prefix='detrove_benchmark_')
        super().__init__(pipeline=pipeline, metainfo=metainfo, serialize_data=False)

    def load_data_list(self) -> list[dict]:
        rng = np.random.default_rng(0)
        height, width = SIZE_HW
        (photograph,) = make_photographs(Path(self._folder.name), [SIZE_HW])
        classes = np.kron(rng.integers(0, self.num_classes, (height // 32, width // 32)), np.ones((32, 32)))
        image, seg_map = str(photograph), str(Path(self._folder.name, 'classes.png'))
        cv2.imwrite(seg_map, classes.astype(np.uint8))
        entries = []
        for index in range(32):
            x = np.sort(rng.uniform(0, width - 2, (self.num_objects, 2)), 1) + [0, 2]
            y = np.sort(rng.uniform(0, height - 2, (self.num_objects, 2)), 1) + [0, 2]
            instances = [
                dict(bbox=[x0, y0, x1, y1], bbox_label=int(label), ignore_flag=0,
                     mask=[[x0, y0, x1, y0, x1, y1, x0, y1]])
                for (x0, x1), (y0, y1), label in zip(x.tolist(), y.tolist(),
                                                     rng.integers(0, self.num_classes, self.num_objects), strict=True)]
            entries.append(dict(img_path=image, img_id=index, height=height, width=width, instances=instances,
                                seg_map_path=seg_map, label_map=None, reduce_zero_label=False, seg_fields=[],
                                gt_label=int(rng.integers(self.num_classes))))
        return entries


class BatchLoader:
    """Loads batches as a data loader without workers does, up to and with the model's data preprocessor."""

    def __init__(self, dataset: Mapping, contestant: Contestant):
        self.settings, self.contestant = dataset, contestant
        self.index = 0

    @cached_property
    def dataset(self):
        return DATASETS.build(self.settings)

    def __call__(self) -> object:
        batch = []
        for _ in range(self.contestant.workload.batch):
            batch.append(self.dataset[self.index % len(self.dataset)])
            self.index += 1
        MessageHub.get_current_instance().update_info('iter', self.index)  # batch augmentations ask for it
        preprocessor = getattr(self.contestant.model, 'data_preprocessor', None)
        collated = pseudo_collate(batch)
        return collated if preprocessor is None else preprocessor(collated, True)


def add_data_loading(contestant: Contestant, config: Config) -> None:
    """Give the contestant the config's training data set, wrappers such as mosaic included, on generated images.

    Where that is not possible `contestant.why_no_data` says why.
    """
    loader = config.get('train_dataloader') or {}
    if 'dataset' not in loader or not hasattr(contestant.model, 'loss'):
        contestant.why_no_data = 'the config has no training data set' if 'dataset' not in loader else 'a bare backbone'
        return
    dataset = _with_generated_images(loader['dataset'], dict(
        num_objects=contestant.workload.objects, num_classes=count_classes(contestant.model)))
    load = BatchLoader(dataset, contestant)
    try:
        load()
    except Exception as error:  # pipelines read whatever their data sets write
        contestant.why_no_data = f'its pipeline fails on generated images: {type(error).__name__}: {error}'
    else:
        contestant.load_batch = load


def _with_generated_images(dataset: Mapping, settings: Mapping) -> dict:
    """The data set with the innermost ones replaced."""
    dataset = dict(dataset)
    if 'dataset' in dataset:
        return dict(dataset, dataset=_with_generated_images(dataset['dataset'], settings))
    if 'datasets' in dataset:
        return dict(dataset, datasets=[_with_generated_images(x, settings) for x in dataset['datasets']])
    return dict(type='mmengine.GeneratedPhotographs', pipeline=dataset.get('pipeline', []), **settings)
