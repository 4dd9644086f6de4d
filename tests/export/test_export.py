"""Files that are written, run and compared; and what is said where that fails."""

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torch import nn

from detrove.apis import build_model, inference
from detrove.datasets.shapes_drawing import ShapesSettings, draw
from detrove.export import ExportSettings, export_model, formats
from detrove.export.capture import named_failure
from detrove.export.compare import FLOAT, compare_detections
from detrove.export.images import image_spec, sample_batches
from detrove.export.networks import make_file_model
from detrove.export.reference import NEARBY, TRIES, nearby_answers, reference_answers
from detrove.export.run import _is_one_of, _prepared
from tests.export.conftest import SIZE

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / 'docs' / 'examples' / 'run_onnx.py'


@pytest.fixture(scope='module')
def written(model, config, tmp_path_factory):
    """An ONNX file for any number of images of any size, and what was said of it."""
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    said = []
    path = export_model(model, config, tmp_path_factory.mktemp('onnx') / 'model.onnx',
                        ExportSettings(format='onnx', dynamic_batch=True, dynamic_size=True), said.append)
    return path, said


def test_onnx_agrees_for_every_batch_and_size(written):
    path, said = written
    assert [line.partition(':')[0] for line in said] == ['2x340x250x3', '1x256x352x3', '3x256x352x3']
    assert all('detections agree' in line for line in said)
    assert [file.name for file in path.parent.iterdir()] == ['model.onnx']


def test_onnx_has_plain_operators_and_says_what_it_is(written):
    import onnx

    graph = onnx.load(written[0])
    assert {node.domain for node in graph.graph.node} <= {'', 'ai.onnx'}
    assert 'GridSample' not in {node.op_type for node in graph.graph.node}
    info = json.loads({entry.key: entry.value for entry in graph.metadata_props}['detrove'])
    assert info['outputs'] == ['boxes', 'scores', 'labels'] and info['classes'][1] == 'square'
    assert info['size_hw'] is None and info['resize_scale'] is None


def test_the_example_finds_what_inference_finds(written, model, config, tmp_path, monkeypatch, capsys):
    image_bgr = draw(ShapesSettings(), split_index=1, image_index=1).image_bgr
    image_bgr = cv2.resize(image_bgr, (SIZE, SIZE))  # the file has nothing to resize then, and rounds as cv2 does
    Image.fromarray(image_bgr[..., ::-1]).save(tmp_path / 'image.png')
    monkeypatch.setattr(sys, 'argv', [str(EXAMPLE), str(written[0]), str(tmp_path / 'image.png'), '0'])
    runpy.run_path(str(EXAMPLE), run_name='__main__')
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    model.cfg = config
    expected = inference(model, image_bgr)[0].pred_instances
    assert len(lines) == len(expected)
    np.testing.assert_allclose([float(line[1]) for line in lines], expected.scores, atol=6e-4)
    assert lines[0][0] == model.dataset_meta['classes'][expected.labels[0]]
    np.testing.assert_allclose(np.array(lines[0][2:], float), expected.bboxes[0], atol=0.06)
    assert 'detrove' not in EXAMPLE.read_text().partition('"""\n\nimport')[2].partition('def ')[0]


@pytest.mark.parametrize('settings', [
    dict(format='torchexport', part='backbone', preprocessing=False, dynamic_batch=True, dynamic_size=True),
    dict(format='torchscript', postprocessing=False),
])
def test_other_formats(settings, model, config, tmp_path):
    suffix = formats.SUFFIXES[settings['format']]
    said = []
    path = export_model(model, config, tmp_path / f'file{suffix}', ExportSettings(**settings), said.append)
    assert path.is_file() and len(said) == (3 if settings.get('dynamic_size') else 2)


def test_openvino(model, config, tmp_path):
    pytest.importorskip('openvino')
    pytest.importorskip('onnxscript')
    path = export_model(model, config, tmp_path / 'file.xml', ExportSettings(format='openvino', dynamic_batch=True))
    assert sorted(file.name for file in tmp_path.iterdir()) == ['file.bin', 'file.xml'] and path.suffix == '.xml'


def test_a_file_that_differs_is_not_kept(model, config, tmp_path, monkeypatch):
    path = tmp_path / 'file.torchscript'
    path.write_bytes(b'the one before')
    settings = ExportSettings(format='torchscript', part='backbone', overwrite=True)
    load = formats.load
    monkeypatch.setattr(formats, 'load', lambda *args: lambda array: [1.1 * out for out in load(*args)(array)])
    with pytest.raises(ValueError, match='does not answer as the model does'):
        export_model(model, config, path, settings)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b'the one before']
    monkeypatch.setattr(formats, 'load', lambda *args: lambda array: [][0])
    with pytest.raises(ValueError, match='torchscript file cannot be run on 1x.*, and is not kept: list index'):
        export_model(model, config, path, settings)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b'the one before']
    with pytest.raises(FileExistsError, match='--overwrite replaces it'):
        export_model(model, config, path, ExportSettings(format='torchscript', part='backbone'))


def test_queries_that_nearly_tie():
    """A file may choose between two answers as the model does where its pixels move by what rounding does, for each
    image by itself; no other answer will do.
    """
    def answers(*choices):
        """Ten detections of each image, in one of two places."""
        boxes = np.concatenate([np.arange(40.0).reshape(1, 10, 4) + 9 * choice for choice in choices])
        return [boxes, np.full((len(choices), 10), 0.5), np.zeros((len(choices), 10), int)]

    def compare(found, expected):
        return compare_detections(found, expected, SIZE, FLOAT)

    nearby = [answers(0, 0), answers(1, 0), answers(0, 1)]
    assert _is_one_of(nearby, answers(1, 1), compare) and _is_one_of(nearby, answers(0, 1), compare)
    assert not _is_one_of(nearby, answers(1, 2), compare)
    assert not _is_one_of(nearby[:2], answers(1, 1), compare)


def test_nearby_answers_are_those_of_the_model(model, config):
    """Without ties they stay within what is allowed, so that nothing else is let through."""
    spec = image_spec(config, model, size_hw=None, dynamic=False, with_preprocessing=True)
    module = _prepared(model, spec, ExportSettings(format='onnx'))
    (batch,) = sample_batches(spec, config, (), (2,))
    expected = reference_answers(model, module, batch)[1]
    found = list(nearby_answers(model, module, batch))
    assert len(found) == len(NEARBY) * TRIES
    assert not any(np.array_equal(one[1], expected[1]) for one in found[-TRIES:])
    assert all(compare_detections(one, expected, SIZE, FLOAT).agrees for one in found[:TRIES])


@pytest.mark.parametrize('settings, message', [
    (dict(format='onxx'), 'choose from onnx, torchexport'),
    (dict(format='onnx', part='head'), 'choose from model, backbone'),
    (dict(format='torchscript', dynamic_batch=True), 'torchscript is traced'),
    (dict(format='onnx', batch=0), 'at least 1'),
])
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        ExportSettings(**settings)


def test_wrong_size_and_suffix(model, config, tmp_path):
    with pytest.raises(ValueError, match='--size 96 64'):
        export_model(model, config, tmp_path / 'x.pt2', ExportSettings(format='torchexport', size_hw=(70, 64)))
    with pytest.raises(ValueError, match='ends in .pt2'):
        export_model(model, config, tmp_path / 'x.onnx', ExportSettings(format='torchexport'))


def test_a_missing_package_is_named(model, config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(ValueError, match=r"onnxscript.*pip install 'detrove\[export\]'"):
        export_model(model, config, tmp_path / 'x.onnx', ExportSettings(format='onnx'))


def test_detectors_with_suppression_are_refused(tmp_path):
    config = Config.fromfile('configs/dinat/mask-rcnn_dinat-nano_shapes.py')
    model = build_model(config).eval()
    with pytest.raises(ValueError, match=r'MaskRCNN .* roi_head \(StandardRoIHead\) .* --part backbone'):
        make_file_model(model, None, part='model', preprocessing=False, postprocessing=True)


def test_failures_name_the_module():
    class Stubborn(nn.Module):
        def forward(self, x):
            return x * x.sum().item() if x.sum() > 0 else x

    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(Stubborn()))
    with pytest.raises(ValueError, match=r'torch.export stopped in 1.0 \(Stubborn\)'), \
            named_failure(model, 'torch.export'):
        torch.export.export(model, (torch.ones(1, 2),), strict=False)
