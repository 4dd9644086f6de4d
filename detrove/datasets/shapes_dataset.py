"""The built-in shapes data set for mmdet and mmseg: drawn into `data_root` on first use."""

from mmdet.registry import DATASETS
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS as SEG_DATASETS

from detrove.datasets.coco import CocoDetection
from detrove.datasets.shapes_drawing import CLASSES, PALETTE


def _draw_if_missing(root: str) -> None:
    # Imported here so that `python -m detrove.datasets.shapes` does not find itself imported already.
    from detrove.datasets.shapes import ensure_shapes

    ensure_shapes(root)


@DATASETS.register_module()
class ShapesDataset(CocoDetection):
    """Boxes and instance masks of the shapes set. Every process may build it: one draws, the others wait."""

    METAINFO = dict(classes=CLASSES, palette=list(PALETTE))

    def load_data_list(self) -> list[dict]:
        _draw_if_missing(self.data_root)
        return super().load_data_list()


@SEG_DATASETS.register_module()
class ShapesSegDataset(BaseSegDataset):
    """Semantic maps of the shapes set. As in ADE20K, map value 0 belongs to no class and is ignored."""

    METAINFO = dict(classes=CLASSES, palette=list(PALETTE))

    def __init__(self, reduce_zero_label: bool = True, **kwargs):
        super().__init__(reduce_zero_label=reduce_zero_label, **kwargs)

    def load_data_list(self) -> list[dict]:
        _draw_if_missing(self.data_root)
        return super().load_data_list()


@SEG_DATASETS.register_module()
class ShapesSegWithBackgroundDataset(ShapesSegDataset):
    """The same maps with value 0 as a class, as Pascal VOC has it: what belongs to no shape is to be found too."""

    METAINFO = dict(classes=('background', *CLASSES), palette=[(0, 0, 0), *PALETTE])

    def __init__(self, reduce_zero_label: bool = False, **kwargs):
        super().__init__(reduce_zero_label=reduce_zero_label, **kwargs)
