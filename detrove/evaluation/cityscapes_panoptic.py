"""Panoptic quality on Cityscapes."""

from collections.abc import Sequence

from mmdet.evaluation import CocoPanopticMetric
from mmdet.registry import METRICS

from detrove.datasets.cityscapes_panoptic import ThingsFirst, panoptic_map_of


@METRICS.register_module()
class CityscapesPanopticMetric(CocoPanopticMetric):
    """mmdet's `CocoPanopticMetric` with the names of files and the order of categories of Cityscapes.

    Args:
        ann_file, seg_prefix: as of `CityscapesPanopticDataset`.
        kwargs: see `CocoPanopticMetric`.
    """

    def __init__(self, *, ann_file: str, seg_prefix: str, **kwargs):
        super().__init__(ann_file=ann_file, seg_prefix=seg_prefix, **kwargs)
        self._coco_api = ThingsFirst(ann_file)
        self.categories = self._coco_api.cats

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """The metric derives the name of an image's map from the image's."""
        super().process(data_batch, [{**one, 'img_path': panoptic_map_of(one['img_id'])} for one in data_samples])
