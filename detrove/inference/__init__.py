"""Running a trained model on images, folders and videos."""

from detrove.datasets.image_file import UnreadableImage

from .fused_test import FusedTTAModel
from .fusion import fuse_boxes, predict_fused
from .predict import ImagePipeline, predict_images
from .sources import find_images
from .tiled_test import cut_test_set
from .views import View, make_views

__all__ = ['FusedTTAModel', 'ImagePipeline', 'UnreadableImage', 'View', 'cut_test_set', 'find_images', 'fuse_boxes',
           'make_views', 'predict_fused', 'predict_images']
