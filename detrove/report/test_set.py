"""The test set of a config: its classes, its annotation file and its images."""

from dataclasses import dataclass
from functools import cached_property

from mmengine.config import Config
from mmengine.registry import init_default_scope

from detrove.datasets.categories import category_ids_of
from detrove.evaluation.coco_format import read_coco_json


@dataclass(frozen=True)
class TestSet:
    """Attributes:
    ann_file: COCO json.
    classes: names in the order of the labels.
    image_paths: image id -> file.
    """

    __test__ = False  # pytest would collect it for its name

    ann_file: str
    classes: tuple[str, ...]
    image_paths: dict[int, str]

    @cached_property
    def category_ids(self) -> list[int]:
        """Id of each class in the annotation file."""
        return category_ids_of(read_coco_json(self.ann_file), self.classes, source=self.ann_file)


def open_test_set(cfg: Config) -> TestSet:
    """Build the test set of a detector's config, without loading images.

    Raises:
        ValueError: if it is not one data set with COCO annotations.
    """
    from mmdet.registry import DATASETS

    init_default_scope(cfg.get('default_scope') or 'mmdet')
    settings = (cfg.get('test_dataloader') or {}).get('dataset')
    if settings is None:
        raise ValueError(f'config {cfg.filename} has no test_dataloader.dataset: there is nothing to report on')
    dataset = DATASETS.build({**settings, 'test_mode': True})
    ann_file = getattr(dataset, 'ann_file', '')
    if not str(ann_file).endswith('.json'):
        raise ValueError(f'test_dataloader.dataset of {cfg.filename} is a {type(dataset).__name__} with '
                         f'ann_file={ann_file!r}; a report needs one data set with COCO annotations (json). '
                         'tools/convert_dataset.py makes them from VOC and YOLO.')
    infos = (dataset.get_data_info(index) for index in range(len(dataset)))
    return TestSet(ann_file, tuple(dataset.metainfo['classes']), {info['img_id']: info['img_path'] for info in infos})
