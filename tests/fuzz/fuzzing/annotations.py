"""COCO files, and the cache of what was read from them."""

from pathlib import Path
from unittest import mock

import cv2
import numpy as np
from hypothesis import strategies as st
from mmdet.datasets import transforms  # noqa: F401  registered

from detrove.datasets import CocoDetection, annotation_cache

from .oracle import Case
from .trees import NUMBERS, VALUES, as_json, damaged, mutated


def _png(height: int, width: int) -> bytes:
    return cv2.imencode('.png', np.zeros((height, width, 3), np.uint8))[1].tobytes()


IMAGES = {'images/1.png': _png(20, 30), 'images/2.png': _png(16, 16)}
RUNS = dict(size=[20, 30], counts=[10, 5, 585])
CONTENT = dict(
    info=dict(year=2026),
    images=[dict(id=1, file_name='1.png', width=30, height=20), dict(id=2, file_name='2.png', width=16, height=16)],
    categories=[dict(id=1, name='cat'), dict(id=3, name='dog', supercategory='animal')],
    annotations=[
        dict(id=1, image_id=1, category_id=1, bbox=[2, 3, 10, 11], area=110, iscrowd=0,
             segmentation=[[2, 3, 12, 3, 12, 14, 2, 14]]),
        dict(id=2, image_id=1, category_id=3, bbox=[5.5, 5, 8, 8], area=64, iscrowd=1, segmentation=RUNS),
        dict(id=3, image_id=2, category_id=3, bbox=[0, 0, 16, 16], area=256, iscrowd=0,
             segmentation=dict(size=[16, 16], counts='0P8')),
    ])
PIPELINE = (dict(type='mmdet.LoadImageFromFile'), dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='mmdet.PackDetInputs'))
BOXES = st.lists(NUMBERS, min_size=3, max_size=5)
OUTLINES = st.one_of(
    st.lists(st.lists(NUMBERS, max_size=9), max_size=3),
    st.fixed_dictionaries(dict(size=st.sampled_from([[20, 30], [30, 20], [16, 16], [-1, 5], [2**40, 2], 5]),
                               counts=st.one_of(st.text(st.characters(codec='latin1'), max_size=12), st.lists(
                                   NUMBERS, max_size=5), st.text('0123456789:;<=>?@PQ`abno', max_size=12)))))


@st.composite
def annotation_files(draw) -> Case:
    content = draw(mutated(CONTENT, st.one_of(VALUES, BOXES, OUTLINES)))
    text = as_json(content)
    if draw(st.integers(0, 3)) == 0:
        text = draw(damaged(text))
    return Case(IMAGES | {'train.json': text}, _loader(
        masks=draw(st.booleans()), test_mode=draw(st.booleans()), classes=draw(st.sampled_from([None, ('dog', 'cat')])),
        cache=draw(st.booleans())), 'train.json', repr(text[:2000]))


@st.composite
def cache_files(draw) -> Case:
    """A right annotation file, and a cache of it that something has happened to."""
    draws = draw(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6))
    cut = draw(st.sampled_from([None, 0.0, 0.1, 0.9, 0.999]))

    def load(folder: Path) -> None:
        reads = _loader(masks=True, test_mode=False, classes=None, cache=True)
        reads(folder)
        (records,) = folder.glob('cache/*.records')
        content = bytearray(records.read_bytes())
        for place, value in draws:
            content[place % len(content)] = value
        records.write_bytes(content if cut is None else content[: int(cut * len(content))])
        reads(folder)

    return Case(IMAGES | {'train.json': as_json(CONTENT)}, load, '.records', f'{draws} {cut}')


def _loader(*, masks: bool, test_mode: bool, classes, cache: bool):
    pipeline = [dict(step) for step in PIPELINE]
    pipeline[1]['with_mask'] = masks

    def load(folder: Path) -> None:
        with mock.patch.multiple(annotation_cache, MIN_BYTES=0, SETTLED_S=0 if cache else 3600.0):
            for _ in range(1 + cache):  # the second time from the cache
                dataset = CocoDetection(
                    data_root=str(folder), ann_file='train.json', data_prefix=dict(img='images'), pipeline=pipeline,
                    metainfo=dict(classes=classes) if classes else None, test_mode=test_mode,
                    annotation_cache=str(folder / 'cache') if cache else False)
                for index in range(len(dataset)):
                    boxes = dataset[index]['data_samples'].gt_instances.bboxes.tensor
                    assert boxes.isfinite().all() and (boxes[:, 2:] > boxes[:, :2]).all(), boxes

    return load
