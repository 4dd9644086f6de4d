"""DAB-DETR and DAB-Deformable-DETR against recorded outputs of the official code, in double precision.

tests/data/group_detr/README.md says how they were made.
"""

import pytest
import torch


def assert_close(actual, expected, tolerance=1e-8):
    torch.testing.assert_close(actual.to(expected.dtype), expected, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=['dab-detr_r50', 'dab-deformable-detr_r50'])
def case(official_case, request):
    return official_case('dab_detr', request.param, f'{request.param}_8xb2-50e_coco.py',
                         {'model.query_selection.num_queries': 60})


@pytest.mark.parametrize('part', ['eval_padded', 'eval_single'])
def test_detections(case, part):
    """Two images of different sizes, and one without padding: boxes in pixels, scores and labels in the same order."""
    _, scores, labels, boxes_xyxy = case.detect(part)
    assert_close(*case.memory_samples(part))
    assert torch.equal(labels, case[f'{part}/labels'].long())
    assert_close(scores, case[f'{part}/scores'])
    assert_close(boxes_xyxy, case[f'{part}/boxes_xyxy'])


@pytest.mark.parametrize('part', ['train_two_images', 'train_one_empty'])
def test_losses_and_gradients(case, part):
    """Every layer's boxes and losses, and the gradient of every parameter."""
    outputs, losses = case.train(part)
    boxes = outputs.decoder.boxes_cxcywh.detach()[:, :, case[f'{part}/layer_queries'].long()]
    assert_close(boxes, case[f'{part}/layer_boxes_cxcywh'])
    expected = case.expected_losses(part)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(losses[name].detach(), value)
    for ours, official in case.gradient_norms(part).values():
        assert_close(ours, official, 1e-6)
    trained = [p.grad.norm() for p in case.model.parameters() if p.grad is not None]
    assert_close(torch.stack(trained).norm(), case[f'{part}/grad_norm'])
