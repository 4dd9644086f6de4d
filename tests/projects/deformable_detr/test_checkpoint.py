"""What the converter does besides renaming."""

import pytest
import torch
from torch import nn

from detrove.checkpoints import COCO_CATEGORY_IDS
from detrove.checkpoints.deformable_layout import share_heads
from detrove.layers import LearnedQueries, OneToManyBranch, TopKQuerySelection
from detrove.projects.deformable_detr.checkpoint import divide_queries, keep_object_row

MIXED = dict(num_classes=3, embed_dims=4, content='learned', fixed_position=True)


def model(selection, one_to_many=None):
    parts = nn.Module()
    parts.query_selection, parts.one_to_many = selection, one_to_many
    return parts


def test_one_stage_table_is_position_and_content():
    table = torch.randn(5, 8)
    state = dict(table=table)
    divide_queries(state, 'table', model(LearnedQueries(num_queries=5, embed_dims=4)))
    assert torch.equal(state.pop('query_selection.position.weight'), table[:, :4])
    assert torch.equal(state.pop('query_selection.content.weight'), table[:, 4:])
    assert not state


@pytest.mark.parametrize('with_branch', [True, False])
def test_mixed_selection_table_is_main_then_one_to_many(with_branch):
    table = torch.randn(7, 4)
    state = dict(table=table)
    branch = OneToManyBranch(num_queries=5, num_classes=3, embed_dims=4) if with_branch else None
    divide_queries(state, 'table', model(TopKQuerySelection(num_queries=2, **MIXED), branch))
    assert torch.equal(state.pop('query_selection.content.weight'), table[:2])
    if with_branch:
        assert torch.equal(state.pop('one_to_many.content.weight'), table[2:])
    assert not state


def test_row_that_ranks_tokens_stays_first():
    """The 80 rows of COCO's ids would put that of persons there."""
    selection = TopKQuerySelection(num_queries=2, num_classes=80, embed_dims=4)
    state = {'query_selection.class_head.weight': torch.arange(91.0)[:, None],
             'query_selection.class_head.bias': torch.arange(91.0)}
    keep_object_row(state, model(selection))
    assert state['query_selection.class_head.bias'].tolist() == [0, *COCO_CATEGORY_IDS[1:]]
    assert state['query_selection.class_head.weight'].flatten().tolist() == [0, *COCO_CATEGORY_IDS[1:]]


def test_heads_that_differ_cannot_be_shared():
    state = {f'bbox_head.class_heads.{layer}.bias': torch.zeros(3) for layer in range(2)}
    share_heads(state)
    assert list(state) == ['bbox_head.class_heads.0.bias']
    state['bbox_head.class_heads.1.bias'] = torch.ones(3)
    with pytest.raises(ValueError, match='bbox_head.shared=False'):
        share_heads(state)
