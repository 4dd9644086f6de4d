"""The stand-in for COCO's panopticapi, alone and under mmdet's metric."""

import sys

import numpy as np
import pytest

from detrove.compat.panopticapi.evaluation import PQStat
from detrove.compat.panopticapi.utils import id2rgb, rgb2id

CATEGORIES = {7: dict(isthing=1), 8: dict(isthing=1), 9: dict(isthing=0)}


def test_ids_survive_as_colours():
    ids = np.array([[0, 1, 255], [256, 65536, 26021]])
    colours = id2rgb(ids)
    assert colours.dtype == np.uint8 and colours[1, 2].tolist() == [165, 101, 0] == id2rgb(26021)
    assert np.array_equal(rgb2id(colours), ids) and rgb2id((165, 101, 0)) == 26021


def test_quality_of_the_paper():
    """Two matched segments of IoU 0.6 and 0.8, one wrong, one missed; in two parts, as two images give them."""
    first, second = PQStat(), PQStat()
    first[7].tp, first[7].iou, first[7].fp = 1, 0.6, 1
    second[7].tp, second[7].iou, second[7].fn = 1, 0.8, 1
    second[9].fn = 3
    first += second
    mean, per_class = first.pq_average(CATEGORIES, isthing=None)
    assert per_class[7] == pytest.approx(dict(pq=1.4 / 3, sq=0.7, rq=2 / 3))
    assert per_class[8] == per_class[9] == dict(pq=0.0, sq=0.0, rq=0.0)
    assert mean == pytest.approx(dict(pq=1.4 / 6, sq=0.35, rq=1 / 3, n=2))  # no object of category 8: not counted
    assert first.pq_average(CATEGORIES, isthing=True)[0] == pytest.approx(dict(pq=1.4 / 3, sq=0.7, rq=2 / 3, n=1))
    assert PQStat().pq_average(CATEGORIES, isthing=False)[0] == dict(pq=0.0, sq=0.0, rq=0.0, n=0)


def test_mmdet_finds_it():
    import panopticapi
    from mmdet.evaluation.functional import panoptic_utils
    from mmdet.evaluation.metrics import coco_panoptic_metric
    if sys.modules['panopticapi'].__name__ == 'detrove.compat.panopticapi':  # the real one is not installed
        assert panopticapi.__file__.replace('\\', '/').endswith('detrove/compat/panopticapi/__init__.py')
    for module in (panoptic_utils, coco_panoptic_metric):
        assert module.PQStat is not None and module.rgb2id is not None
