"""Reading label maps: whole ones, of their image's size, with one value a pixel."""

import os

import cv2
import numpy as np
from mmdet.datasets.transforms import LoadAnnotations as StockDetLoadAnnotations
from mmdet.registry import TRANSFORMS
from mmseg.datasets.transforms import LoadAnnotations as StockSegLoadAnnotations
from mmseg.registry import TRANSFORMS as SEG_TRANSFORMS
from PIL import Image

_PNG_16_BITS = 16  # in the byte after the size


class _RefusesBadMaps:
    """Adds to a `LoadAnnotations` that a label map which cannot be used is refused by name.

    Raises:
        ValueError: (when called) the map is no image or a damaged one, has colours, another size than its image, or
            16 bits, of which mmseg keeps 8.
        FileNotFoundError: there is no such file.
    """

    def _load_seg_map(self, results: dict) -> None:
        path = results.get('seg_map_path')
        try:
            super()._load_seg_map(results)
        except FileNotFoundError:
            raise
        except (OSError, AttributeError, SyntaxError, TypeError, ValueError, Image.DecompressionBombError,
                cv2.error) as error:  # as decoders have it
            raise ValueError(f'{path} cannot be read as a label map: {error}. Copy or write it again.') from error
        if path is None:
            return
        labels = results['gt_seg_map']
        size_hw = results.get('ori_shape')
        if size_hw is not None and labels.shape != tuple(size_hw):
            labels = results['gt_seg_map'] = _one_value_a_pixel(labels, tuple(size_hw), path)
        if isinstance(self, StockSegLoadAnnotations) and _has_16_bits(path):
            raise ValueError(f'{path} has 16 bits a pixel, of which mmseg keeps 8: other classes would come out. Write '
                             'it with 8.')


@SEG_TRANSFORMS.register_module(force=True)
class LoadAnnotations(_RefusesBadMaps, StockSegLoadAnnotations):
    """mmseg's transform of this name, in whose place configs get it, with bad label maps refused by name."""

    __doc__ += _RefusesBadMaps.__doc__.partition('\n')[2]


@TRANSFORMS.register_module(name='LoadAnnotations', force=True)
class DetLoadAnnotations(_RefusesBadMaps, StockDetLoadAnnotations):
    """mmdet's ``LoadAnnotations``, in whose place configs get it, with bad label maps refused by name."""

    __doc__ += _RefusesBadMaps.__doc__.partition('\n')[2]


def check_labels(labels: np.ndarray, *, num_classes: int, ignore_index: int, path: str) -> None:
    """Refuse a label map with values that are no classes.

    Args:
        labels: (H, W), after `reduce_zero_label`.
        num_classes: classes are 0 to this, without it.
        ignore_index: value of pixels without class.
        path: of the file, for the message.

    Raises:
        ValueError: with the values, and how many pixels have them.
    """
    wrong = labels[(labels >= num_classes) & (labels != ignore_index)]
    if wrong.size:
        values = np.unique(wrong)
        raise ValueError(f'{path} has the values {values[:8].tolist()}{" and more" if len(values) > 8 else ""} in '
                         f'{wrong.size:,} pixels, but classes are 0 to {num_classes - 1}, and {ignore_index} is none. '
                         'Look at reduce_zero_label and at the number of classes; tools/check_dataset.py reads all '
                         'maps.')


def _one_value_a_pixel(labels: np.ndarray, size_hw: tuple[int, int], path: str) -> np.ndarray:
    if labels.ndim < 2 and labels.size == size_hw[0] * size_hw[1]:
        return labels.reshape(size_hw)  # mmcv takes sides of one pixel out
    if labels.ndim > 2:
        raise ValueError(f'{path} is an image with colours {labels.shape}, expected one value a pixel: the number of '
                         'its class. Write the numbers; tools/check_dataset.py tells what maps hold.')
    shape = ' x '.join(map(str, labels.shape[::-1])) or '1'
    raise ValueError(f'{path} is {shape} pixels, but its image is {size_hw[1]} x {size_hw[0]}.')


def _has_16_bits(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, 'rb') as stream:
        head = stream.read(25)
    return head.startswith(b'\x89PNG') and head[24:] == bytes([_PNG_16_BITS])
