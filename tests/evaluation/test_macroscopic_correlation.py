"""Macroscopic correlation against an obvious slow version, and on annotation files."""

import json
import math

import numpy as np
import pytest

from detrove.cli.macroscopic_correlation import main
from detrove.evaluation.macroscopic_correlation import macroscopic_correlation, measure_annotations


def slow_correlation(boxes):
    """Pearson's formula, pair by pair."""
    total = 0.0
    for i, first in enumerate(boxes):
        for j, second in enumerate(boxes):
            if i != j:
                a, b = [x - sum(first) / 4 for x in first], [x - sum(second) / 4 for x in second]
                product = sum(x * y for x, y in zip(a, b, strict=True))
                total += abs(product) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return total / (len(boxes) * (len(boxes) - 1))


def test_slow_version():
    boxes = np.random.RandomState(0).random_sample((7, 4)) * 100
    assert macroscopic_correlation(boxes) == pytest.approx(slow_correlation(boxes.tolist()), rel=1e-12)


def test_extremes():
    """Boxes that differ by scale and shift correlate fully, also when one grows where the other shrinks."""
    assert macroscopic_correlation([[1, 2, 3, 5], [2, 4, 6, 10], [9, 8, 7, 5]]) == pytest.approx(1)
    assert macroscopic_correlation([[1, 1, 2, 2], [1, 2, 1, 2]]) == pytest.approx(0)


@pytest.mark.parametrize('boxes', [[[1, 2, 3, 4]], [[1, 2, 3], [4, 5, 7]], [[1, 2, 3, 4], [0.1, 0.1, 0.1, 0.1]]])
def test_boxes_that_have_none(boxes):
    with pytest.raises(ValueError, match='two boxes|equal numbers'):
        macroscopic_correlation(boxes)


@pytest.fixture
def ann_file(tmp_path):
    boxes = {1: [[1, 2, 3, 5], [2, 4, 6, 10]], 2: [[1, 1, 2, 2], [1, 2, 1, 2], [4, 4, 4, 4]], 3: [[1, 2, 3, 4]]}
    annotations = [dict(image_id=image, bbox=box, iscrowd=0) for image, chosen in boxes.items() for box in chosen]
    path = tmp_path / 'instances.json'
    path.write_text(json.dumps(dict(images=[dict(id=i) for i in range(1, 5)], annotations=annotations)))
    return path


def test_annotation_file(ann_file):
    """An image with one box, and one without any, have no value."""
    result = measure_annotations(ann_file)
    assert result.by_image == {1: pytest.approx(1), 2: pytest.approx(0)}
    assert (result.num_images, result.num_unusable) == (4, 1)


def test_broken_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='nothing.json'):
        measure_annotations(tmp_path / 'nothing.json')
    broken = tmp_path / 'broken.json'
    broken.write_text('{')
    with pytest.raises(ValueError, match='not a json file'):
        measure_annotations(broken)
    broken.write_text('[]')
    with pytest.raises(ValueError, match='no annotations and no images'):
        measure_annotations(broken)
    broken.write_text('{"images": [], "annotations": []}')
    with pytest.raises(ValueError, match='two boxes'):
        measure_annotations(broken)


def test_command(ann_file, tmp_path, capsys):
    options = ['--csv', str(tmp_path / 'values.csv'), '--plot', str(tmp_path / 'values.png')]
    assert main([str(ann_file), *options]) == 0
    assert ' 0.5000  0.5000         2  ' in capsys.readouterr().out
    assert (tmp_path / 'values.csv').read_text().splitlines()[1].endswith('instances.json,1,1.0')
    assert (tmp_path / 'values.png').stat().st_size > 1000
    with pytest.raises(FileExistsError, match='values.csv'):
        main([str(ann_file), *options])
