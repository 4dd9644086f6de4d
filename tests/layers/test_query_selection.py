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


def test_gradients_equal_the_slow_form(make_memory):
    """Only the chosen tokens have any, and only they are computed."""
    torch.manual_seed(0)
    selection = TopKQuerySelection(num_queries=5, num_classes=3, embed_dims=16).double()
    torch.nn.init.normal_(selection.bbox_head.layers[-1].weight)
    memory, same = torch.randn(2, 2, 30, 16).double()
    anchors, valid = anchor_boxes(make_memory(torch.zeros(1, 30, 4), SHAPES))
    selected = selection(make_memory(memory.requires_grad_(), SHAPES), num_further=2)
    seeds = torch.randn(2, 5, 7).double()
    (selected.logits * seeds[..., :3]).sum().add((selected.boxes_cxcywh * seeds[..., 3:]).sum()).backward()
    ours = [parameter.grad for parameter in selection.parameters()]
    selection.zero_grad()

    same = memory.detach().requires_grad_()
    projected = selection.output_norm(selection.output_proj(same * valid))
    logits, boxes = selection.class_head(projected), (selection.bbox_head(projected) + anchors).sigmoid()
    for image in range(2):
        best = selected.token_index[image, :5]
        (logits[image, best] * seeds[image, :, :3]).sum().backward(retain_graph=True)
        (boxes[image, best] * seeds[image, :, 3:]).sum().backward(retain_graph=True)
    torch.testing.assert_close(memory.grad, same.grad)
    for grad, parameter in zip(ours, selection.parameters(), strict=True):
        torch.testing.assert_close(grad, parameter.grad)


def test_all_tokens_are_supervised_on_request(make_memory):
    selection = TopKQuerySelection(num_queries=5, num_classes=3, embed_dims=16, supervise='all')
    memory = torch.randn(2, 30, 16, requires_grad=True)
    selected = selection(make_memory(memory, SHAPES))
    assert selected.logits.shape == (2, 30, 3) and selected.boxes_cxcywh.shape == (2, 30, 4)
    selected.logits.sum().backward()
    assert (memory.grad != 0).any(-1).all()


def test_half_precision_gives_all_weights_gradients(make_memory):
    """Ranking without gradients comes first and must not leave its cast weights behind."""
    selection = TopKQuerySelection(num_queries=5, num_classes=3, embed_dims=16)
    with torch.autocast('cpu', torch.bfloat16):
        selected = selection(make_memory(torch.randn(2, 30, 16), SHAPES))
        (selected.logits.sum() + selected.boxes_cxcywh.sum()).backward()
    assert all(parameter.grad is not None for parameter in selection.parameters())


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
