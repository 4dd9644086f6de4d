"""Deformable DETR against recorded outputs of the official code; tests/data/deformable_detr/README.md says more.

All in double precision, without dropout.
"""

import pytest
import torch

ALL = ['deformable-detr_r50', 'deformable-detr-refine_r50', 'deformable-detr-two-stage_r50']
WITHOUT_DROPOUT = {'model.encoder.dropout': 0.0, 'model.decoder.layer.dropout': 0.0}


def assert_close(actual, expected, tolerance=1e-8):
    torch.testing.assert_close(actual.to(expected.dtype), expected, rtol=tolerance, atol=tolerance)


@pytest.fixture
def case(official_case, request):
    return official_case('deformable_detr', request.param, f'{request.param}_16xb2-50e_coco.py', WITHOUT_DROPOUT)


@pytest.mark.parametrize('case', ALL[1:], indirect=True)
def test_detections(case):
    """Two images of different sizes: boxes in pixels, scores and labels, in the same order."""
    part = 'eval_padded'
    outputs, scores, labels, boxes_xyxy = case.detect(part)
    assert_close(*case.memory_samples(part))
    if outputs.encoder.logits is not None:
        assert_close(outputs.encoder.boxes_cxcywh[:, ::60], case[f'{part}/encoder_boxes_cxcywh'])
        assert_close(outputs.encoder.logits[:, ::60].amax(-1), case[f'{part}/encoder_logits_max'])
    assert torch.equal(labels, case[f'{part}/labels'].long())
    assert_close(scores, case[f'{part}/scores'])
    assert_close(boxes_xyxy, case[f'{part}/boxes_xyxy'])


@pytest.mark.parametrize('case', ALL[1:2], indirect=True)  # without two stages every query stays what it is
def test_detections_in_single_precision(case, monkeypatch):
    """What users run: every box of the last layer to 1e-4 of the image, every score too."""
    monkeypatch.undo()  # geometry as users have it
    part = 'eval_padded'
    case.model.eval().float()
    with torch.no_grad():
        decoded = case.decode(part, dtype=torch.float32).decoder
    case.model.double()
    assert_close(decoded.boxes_cxcywh[-1], case[f'{part}/pred_boxes_cxcywh'], 1e-4)
    assert_close(decoded.logits[-1].amax(-1).sigmoid(), case[f'{part}/pred_logits_max'].sigmoid(), 1e-4)


@pytest.mark.parametrize('case', ALL, indirect=True)
def test_losses_and_gradients(case):
    """Every layer's boxes and losses, and the gradient of every parameter; one image without objects."""
    part = 'train_one_empty'
    outputs, losses = case.train(part)
    boxes = outputs.decoder.boxes_cxcywh.detach()
    assert_close(boxes[:, :, case[f'{part}/layer_queries'].long()], case[f'{part}/layer_boxes_cxcywh'])
    expected = case.expected_losses(part)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(losses[name].detach(), value)
    for ours, official in case.gradient_norms(part).values():
        assert_close(ours, official, 1e-6)
    trained = [p.grad.norm() for p in case.model.parameters() if p.grad is not None]
    assert_close(torch.stack(trained).norm(), case[f'{part}/grad_norm'])


@pytest.mark.parametrize(('case', 'offsets', 'rest'), [
    (ALL[0], [789504, 514], 15824735),
    (ALL[1], [789504, 514], 16604730),
    (ALL[2], [789504], 16937113),
], indirect=['case'])
def test_optimiser_groups(case, offsets, rest):
    """As many values at each rate as the official code printed: backbone, sampling offsets, reference points, rest."""
    assert case.optimiser_groups() == {(2e-4, 1e-4): [rest], (2e-5, 1e-4): [23232512, *offsets]}
