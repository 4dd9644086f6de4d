"""Running a trained model on images and folders."""

from .fusion import fuse_boxes, predict_fused
from .predict import ImagePipeline, predict_images
from .sources import UnreadableImage, find_images

__all__ = ['ImagePipeline', 'UnreadableImage', 'find_images', 'fuse_boxes', 'predict_fused', 'predict_images']
