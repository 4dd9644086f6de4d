"""Group DETR and Conditional DETR against recorded outputs of the official code (see tests/data/group_detr/README.md).

All in double precision, with 3 groups of 60 queries.
"""

import pytest
import torch


def assert_close(actual, expected, tolerance=1e-8):
    torch.testing.assert_close(actual.to(expected.dtype), expected, rtol=tolerance, atol=tolerance)


@pytest.fixture
def case(official_case):
    return official_case('group_detr', 'group-conditional-detr_r50', 'group-conditional-detr_r50_8xb2-12e_coco.py', {
        'model.query_selection.num_queries': 60, 'model.groups.num_groups': 3, 'model.encoder.dropout': 0.0,
        'model.decoder.layer.dropout': 0.0})


@pytest.mark.parametrize('part', ['eval_padded', 'eval_single'])
def test_detections(case, part):
    """Two images of different sizes, and one without padding: boxes in pixels, scores and labels in the same order."""
    outputs, scores, labels, boxes_xyxy = case.detect(part)
    assert_close(*case.memory_samples(part))
    assert outputs.decoder.logits.shape[2] == 60
    assert torch.equal(labels, case[f'{part}/labels'].long())
    assert_close(scores, case[f'{part}/scores'])
    assert_close(boxes_xyxy, case[f'{part}/boxes_xyxy'])


@pytest.mark.parametrize('part', ['train_two_images', 'train_one_empty'])
def test_losses_and_gradients(case, part):
    """Every layer's boxes, the losses over all groups, and the gradient of every parameter."""
    outputs, losses = case.train(part)
    boxes = outputs.decoder.boxes_cxcywh.detach()[:, :, case[f'{part}/layer_queries'].long()]
    assert_close(boxes, case[f'{part}/layer_boxes_cxcywh'])
    # the official code sums main and further groups into one loss
    assert {f'group.{name}' for name in losses if 'group.' not in name} == {x for x in losses if 'group.' in x}
    for name, expected in case.expected_losses(part).items():
        assert_close((losses[name] + losses[f'group.{name}']).detach(), expected)
    for ours, official in case.gradient_norms(part).values():
        assert_close(ours, official, 1e-6)
    trained = [p.grad.norm() for p in case.model.parameters() if p.grad is not None]
    assert_close(torch.stack(trained).norm(), case[f'{part}/grad_norm'])


def test_conditional_detr(case):
    """The same weights without groups are Conditional DETR."""
    part = 'train_two_images_one_group'
    groups, case.model.groups = case.model.groups, None
    try:
        _, losses = case.train(part)
    finally:
        case.model.groups = groups
    expected = case.expected_losses(part)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(losses[name].detach(), value)
