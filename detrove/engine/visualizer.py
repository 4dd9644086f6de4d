"""Drawing detections inside their image."""

import numpy as np
from mmdet.registry import VISUALIZERS
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData

MAP_SHARE = 0.6  # of a label map's colour in its pixels


@VISUALIZERS.register_module()
class ClippedDetVisualizer(DetLocalVisualizer):
    """mmdet's visualizer, with boxes drawn where they meet the image.

    DETRs may predict past the border, and the predictions stay as they are; drawn so, they put white paper around the
    image.
    """

    def _draw_instances(
        self,
        image: np.ndarray,
        instances: InstanceData,
        classes: list[str] | None,
        palette: list[tuple] | None,
    ) -> np.ndarray:
        if 'bboxes' in instances:
            instances = instances.clone()
            height, width = image.shape[:2]
            instances.bboxes[:, 0::2] = instances.bboxes[:, 0::2].clip(0, width - 1)
            instances.bboxes[:, 1::2] = instances.bboxes[:, 1::2].clip(0, height - 1)
        return super()._draw_instances(image, instances, classes, palette)


def draw_label_map(image_rgb: np.ndarray, labels: np.ndarray, palette) -> np.ndarray:
    """A map of class indices (H, W) over its image (H, W, 3); indices without a colour leave the image as it is."""
    colours = np.asarray(palette, np.float64)
    drawn = image_rgb.astype(np.float64)
    known = labels < len(colours)
    drawn[known] = (1 - MAP_SHARE) * drawn[known] + MAP_SHARE * colours[labels[known]]
    return drawn.round().astype(np.uint8)
