"""Results drawn on their image."""

import cv2
import numpy as np
from mmengine.structures import BaseDataElement

MAP_SHARE = 0.6  # of a label map's colour in its pixels


class Drawer:
    """Draws boxes, masks and panoptic segments as mmdet does, and label maps as colours over the image.

    Args:
        dataset_meta: `classes`, and `palette` where known; colours are drawn by a fixed seed where not.
    """

    def __init__(self, dataset_meta: dict):
        from detrove.engine.visualizer import ClippedDetVisualizer

        self.palette = dataset_meta.get('palette')
        self.visualizer = ClippedDetVisualizer(name='detrove_inference')
        self.visualizer.dataset_meta = dict(dataset_meta)

    def __call__(self, image_bgr: np.ndarray, sample: BaseDataElement) -> np.ndarray:
        """The drawn image, BGR of 8 bits."""
        image_rgb = cv2.cvtColor(np.clip(image_bgr, 0, 255).astype(np.uint8), cv2.COLOR_BGR2RGB)
        if 'pred_sem_seg' in sample and 'pred_panoptic_seg' not in sample and 'pred_instances' not in sample:
            drawn = _draw_map(image_rgb, label_map_of(sample), self.palette)
        else:
            # scores have been filtered already
            self.visualizer.add_datasample('', image_rgb, sample, draw_gt=False, pred_score_thr=-1.0)
            drawn = self.visualizer.get_image()
        return cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)


def label_map_of(sample: BaseDataElement) -> np.ndarray:
    """The predicted class of each pixel (H, W), which mmseg calls `data` and mmdet `sem_seg`."""
    maps = sample.pred_sem_seg
    return (maps.data if 'data' in maps else maps.sem_seg)[0].cpu().numpy()


def _draw_map(image_rgb: np.ndarray, labels: np.ndarray, palette) -> np.ndarray:
    """A map of class indices over its image; indices without a colour leave the image as it is."""
    if palette is None or isinstance(palette, str):
        palette = np.random.default_rng(0).integers(0, 256, (labels.max() + 1, 3))
    colours = np.asarray(palette, np.float64)
    drawn = image_rgb.astype(np.float64)
    known = labels < len(colours)
    drawn[known] = (1 - MAP_SHARE) * drawn[known] + MAP_SHARE * colours[labels[known]]
    return drawn.round().astype(np.uint8)
