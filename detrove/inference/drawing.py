"""Results drawn on their image."""

import cv2
import numpy as np
from mmengine.structures import BaseDataElement

from detrove.engine.visualizer import ClippedDetVisualizer, draw_label_map


class Drawer:
    """Draws boxes, masks and panoptic segments as mmdet does, and label maps as colours over the image.

    Args:
        dataset_meta: `classes`, and `palette` where known; colours are drawn by a fixed seed where not.
    """

    def __init__(self, dataset_meta: dict):
        self.palette = dataset_meta.get('palette')
        self.visualizer = ClippedDetVisualizer(name='detrove_inference')
        self.visualizer.dataset_meta = dict(dataset_meta)

    def __call__(self, image_bgr: np.ndarray, sample: BaseDataElement) -> np.ndarray:
        """The drawn image, BGR of 8 bits."""
        image_rgb = cv2.cvtColor(np.clip(image_bgr, 0, 255).astype(np.uint8), cv2.COLOR_BGR2RGB)
        if 'pred_sem_seg' in sample and 'pred_panoptic_seg' not in sample and 'pred_instances' not in sample:
            labels = label_map_of(sample)
            drawn = draw_label_map(image_rgb, labels, self._palette(labels))
        else:
            # scores have been filtered already
            self.visualizer.add_datasample('', image_rgb, sample, draw_gt=False, pred_score_thr=-1.0)
            drawn = self.visualizer.get_image()
        return cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)

    def _palette(self, labels: np.ndarray):
        if self.palette is None or isinstance(self.palette, str):
            return np.random.default_rng(0).integers(0, 256, (labels.max() + 1, 3))
        return self.palette


def label_map_of(sample: BaseDataElement) -> np.ndarray:
    """The predicted class of each pixel (H, W), which mmseg calls `data` and mmdet `sem_seg`."""
    maps = sample.pred_sem_seg
    return (maps.data if 'data' in maps else maps.sem_seg)[0].cpu().numpy()
