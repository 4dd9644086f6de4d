"""Two-stage query selection and its anchors."""

import torch

from detrove.layers import TopKQuerySelection
from detrove.layers.query_selection import anchor_boxes

SHAPES = ((4, 6), (2, 3))


def test_anchors_lie_on_cell_centres(make_memory):
    anchors, valid = anchor_boxes(make_memory(torch.zeros(1, 30, 4), SHAPES))
    boxes = anchors.sigmoid()
    assert valid.all()
    torch.testing.assert_close(boxes[0, 0], torch.tensor([0.5 / 6, 0.5 / 4, 0.05, 0.05]))
    torch.testing.assert_close(boxes[0, 24 + 4], torch.tensor([1.5 / 3, 1.5 / 2, 0.1, 0.1]))


def test_anchors_at_the_border_are_invalid(make_memory):
    anchors, valid = anchor_boxes(make_memory(torch.zeros(1, 10000, 1), ((100, 100),)))
    grid = valid.view(100, 100)
    assert not grid[0].any() and not grid[:, -1].any() and grid[1:-1, 1:-1].all()
    assert torch.isposinf(anchors[0, 0]).all()


def test_equals_the_slow_form(make_memory):
    """All tokens through both heads, then the best, as in the official code."""
    torch.manual_seed(0)
    selection = TopKQuerySelection(num_queries=5, num_classes=3, embed_dims=16)
    torch.nn.init.normal_(selection.bbox_head.layers[-1].weight)
    memory = torch.randn(2, 30, 16)
    anchors, valid = anchor_boxes(make_memory(torch.zeros(1, 30, 4), SHAPES))
    projected = selection.output_norm(selection.output_proj(memory * valid))
    logits, boxes = selection.class_head(projected), selection.bbox_head(projected) + anchors
    selected = selection(make_memory(memory, SHAPES))
    for image in range(2):
        best = logits[image].amax(-1).topk(5).indices
        assert torch.equal(selected.token_index[image], best)
        torch.testing.assert_close(selected.content[image], projected[image, best].detach())
        torch.testing.assert_close(selected.logits[image], logits[image, best])
        torch.testing.assert_close(selected.reference_unact[image], boxes[image, best].detach())
        torch.testing.assert_close(selected.boxes_cxcywh[image], boxes[image, best].sigmoid())
    assert not selected.content.requires_grad and not selected.reference_unact.requires_grad


def test_fewer_tokens_than_queries(make_memory):
    selection = TopKQuerySelection(num_queries=100, num_classes=3, embed_dims=16)
    selected = selection(make_memory(torch.randn(1, 30, 16), SHAPES))
    assert selected.content.shape == (1, 30, 16)
    assert sorted(selected.token_index[0].tolist()) == list(range(30))


def test_trains_after_inference_mode(make_memory):
    """Constants that inference mode made must not break a later training step."""
    selection = TopKQuerySelection(num_queries=5, num_classes=3, embed_dims=16)
    with torch.inference_mode():
        selection(make_memory(torch.randn(1, 30, 16), SHAPES))
    selected = selection(make_memory(torch.randn(1, 30, 16), SHAPES))
    (selected.logits.sum() + selected.boxes_cxcywh.sum()).backward()


def test_state_holds_no_anchors(make_memory):
    selection = TopKQuerySelection(num_queries=5, num_classes=3, embed_dims=16)
    before = set(selection.state_dict())
    selection(make_memory(torch.randn(1, 30, 16), SHAPES))
    assert set(selection.state_dict()) == before
