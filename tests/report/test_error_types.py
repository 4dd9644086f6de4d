"""Error types against TIDE's own code.

Expected values are what `tidecv` 1.0.1 gives for `random_case(seed, crowd)`: `TIDERun(truth, detections, 0.5, 0.1,
TIDE.BOX, 100)` with crowds as ignored regions; AP, `fix_main_errors`, `count_errors` and `fix_special_errors`, in its
order of kinds, values divided by 100.
"""

import numpy as np
import pytest

from detrove.report import average_precision
from detrove.report.average_precision import summarise
from detrove.report.error_types import KINDS, find_error_types
from detrove.report.matching import match
from detrove.report.objects import Truth, to_detections

TIDE = [
    (0, 0.0, 0.16605642022775963,
     [0.04406060255566956, 0.15809002721059723, 0.009729840296188712, 0.00690663112736921, 0.06413064002672147,
      0.08423234021805293], [25, 58, 21, 27, 72, 53], [0.27618780419468264, 0.20811347197120608]),
    (1, 0.0, 0.18557197885750973,
     [0.05862850495394664, 0.1717429144323198, 0.014624710838934796, 0.009695444251430594, 0.041148770678949835,
      0.07426489619020821], [24, 69, 23, 31, 57, 46], [0.2995765359939754, 0.19363550098486948]),
    (2, 0.15, 0.15900409789236064,
     [0.004906551778565848, 0.24380540331673942, 0.017215222453640884, 0.007001830787228975, 0.0468248338078374,
      0.06380284302255475], [9, 84, 32, 29, 89, 41], [0.31624342686011464, 0.17115962540942356]),
]  # fmt: skip

NAMES = list(KINDS)


@pytest.mark.parametrize(('seed', 'crowd', 'ap', 'gains', 'counts', 'special'), TIDE)
def test_equal_to_tide(random_case, monkeypatch, seed, crowd, ap, gains, counts, special):
    # TIDE's recalls are n / 100, those of COCO and ours differ from them in the last digit of a float
    monkeypatch.setattr(average_precision, 'RECALLS', np.arange(101) / 100)
    errors = find_error_types(*random_case(seed, crowd=crowd))
    assert errors.ap50 == pytest.approx(ap, abs=1e-9)
    assert [errors.gains[kind] for kind in NAMES] == pytest.approx(gains, abs=1e-9)
    assert [errors.counts[kind] for kind in NAMES] == counts
    assert [errors.false_positives, errors.false_negatives] == pytest.approx(special, abs=1e-9)


def test_ap_is_that_of_coco(random_case):
    truth, detections = random_case(3)
    assert find_error_types(truth, detections).ap50 == pytest.approx(summarise(match(truth, detections).by_size).ap50)


def test_one_error_of_each_kind():
    boxes = np.array([[0, 0, 10, 10], [100, 0, 110, 10], [200, 0, 210, 10], [300, 0, 310, 10.0]])
    truth = Truth('drawn', ('a', 'b'), np.arange(1), np.zeros(4, int), boxes, np.array([0, 0, 1, 0]), np.full(4, 100.0),
                  np.zeros(4, bool))
    found = [([0, 0, 10, 10], 0, 'right'), ([0, 0, 10, 9], 0, 'duplicate'), ([100, 0, 110, 4], 0, 'localisation'),
             ([200, 0, 210, 10], 0, 'classification'), ([205, 5, 215, 15], 0, 'both'),
             ([50, 50, 60, 60], 1, 'background')]
    detections = to_detections([dict(img_id=0, bboxes=np.array([box for box, _, _ in found], dtype=float),
                                     labels=np.array([label for _, label, _ in found]),
                                     scores=np.linspace(0.9, 0.4, len(found)))], truth.image_ids)
    errors = find_error_types(truth, detections)
    assert [NAMES[kind] if kind >= 0 else 'right' for kind in errors.kind] == [name for _, _, name in found]
    assert errors.missed.tolist() == [False, False, False, True]


def test_without_detections_everything_is_missed(random_case):
    truth, _ = random_case(0)
    nothing = to_detections([dict(img_id=image, bboxes=np.zeros((0, 4)), scores=np.zeros(0), labels=np.zeros(0, int))
                             for image in truth.image_ids], truth.image_ids)
    errors = find_error_types(truth, nothing)
    assert errors.counts['missed'] == len(truth.image)
    assert errors.ap50 == 0
