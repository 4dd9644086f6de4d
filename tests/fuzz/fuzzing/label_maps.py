"""Label maps: of every kind, size and value."""

from pathlib import Path

import cv2
import numpy as np
from hypothesis import strategies as st
from mmcv.transforms import Compose
from mmseg.datasets import transforms  # noqa: F401  registered

from detrove.datasets.label_map_file import check_labels

from .images import FORMATS, encode
from .oracle import Case
from .trees import damaged

_LOADS = dict(
    mmseg=dict(type='mmseg.LoadAnnotations'),
    mmdet=dict(type='mmdet.LoadAnnotations', with_bbox=False, with_label=False, with_seg=True))
_IMAGE = encode('PNG', 'RGB', (12, 9))


@st.composite
def label_map_files(draw) -> Case:
    kind = draw(st.sampled_from(['PNG', 'BMP', 'TIFF', 'JPEG']))
    mode = draw(st.sampled_from(sorted({'L', 'RGB', 'P', '1', 'I;16'} & set(FORMATS[kind]))))
    size_wh = draw(st.sampled_from([(12, 9), (12, 9), (9, 12), (1, 1)]))
    content = _labels(draw) if draw(st.booleans()) else encode(kind, mode, size_wh)
    if draw(st.integers(0, 2)) == 0:
        content = draw(damaged(content))
    package = draw(st.sampled_from(['mmseg', 'mmdet']))
    reduce_zero, num_classes = draw(st.booleans()), draw(st.sampled_from([1, 3, 256]))

    def load(folder: Path) -> None:
        read = Compose([dict(type='mmdet.LoadImageFromFile'), _LOADS[package]])
        results = read(dict(
            img_path=str(folder / 'image.png'), seg_map_path=str(folder / 'map.png'), label_map=None,
            reduce_zero_label=reduce_zero, seg_fields=[]))
        labels = results['gt_seg_map']
        assert labels.shape == results['img_shape'], labels.shape
        check_labels(labels, num_classes=num_classes, ignore_index=255, path=results['seg_map_path'])
        assert all(0 <= value < num_classes or value == 255 for value in np.unique(labels))

    return Case({'image.png': _IMAGE, 'map.png': content}, load, 'map.png', f'{package} {reduce_zero} {content[:60]!r}')


def _labels(draw) -> bytes:
    values = np.array(draw(st.lists(st.sampled_from([0, 1, 2, 3, 4, 200, 255]), min_size=4, max_size=4)), np.uint8)
    return cv2.imencode('.png', np.resize(values, (9, 12)))[1].tobytes()
