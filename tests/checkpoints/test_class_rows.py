"""COCO's category ids as rows of class layers."""

import torch
from torch import nn

from detrove.checkpoints import add_no_object_row, select_coco_rows
from detrove.checkpoints.class_rows import COCO_CATEGORY_IDS


class Heads(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.class_head = nn.Linear(3, num_classes)
        self.label_embedding = nn.Embedding(num_classes + 1, 3)


def test_ids_are_those_of_coco():
    assert len(COCO_CATEGORY_IDS) == 80 and COCO_CATEGORY_IDS[0] == 1 and COCO_CATEGORY_IDS[-1] == 90
    assert COCO_CATEGORY_IDS[11] == 13 and COCO_CATEGORY_IDS[79 - 8] == 81  # stop sign, sink


def test_rows_of_91_classes_become_80():
    official = {name: torch.arange(len(value.reshape(len(value), -1))).float().expand(value[0].numel(), -1).T.reshape(
        value.shape) for name, value in Heads(91).state_dict().items()}
    add_no_object_row(official, 'label_embedding.weight', 91)
    model = Heads(80)
    select_coco_rows(official, model)
    model.load_state_dict(official)
    assert model.class_head.bias.tolist() == COCO_CATEGORY_IDS
    assert model.label_embedding.weight[:, 0].tolist() == [*COCO_CATEGORY_IDS, 0]


def test_other_entries_stay():
    same = {'class_head.weight': torch.rand(91, 3), 'other': torch.rand(91)}
    kept = dict(same)
    select_coco_rows(same, Heads(91))
    assert all(same[name] is kept[name] for name in kept)


def test_missing_no_object_row_is_added():
    state = {'table': torch.ones(80, 3)}
    add_no_object_row(state, 'table', 80)
    assert state['table'].shape == (81, 3) and not state['table'][80].any()
    add_no_object_row(state, 'absent', 80)
    assert 'absent' not in state
