"""Class rows of checkpoints trained on raw COCO category ids."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

_UNUSED_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
COCO_CATEGORY_IDS = [i for i in range(1, 91) if i not in _UNUSED_IDS]


def select_coco_rows(state_dict: dict[str, Tensor], model: nn.Module) -> None:
    """Turn entries with a row for each of COCO's ids 0 to 90 into the 80 rows of a model, in place.

    DETR and its heirs number classes by COCO's category ids, of which 80 are in use; heads have 91 rows, label tables
    91 or 92. Models here number the classes 0 to 79 in the order of the ids. Other entries stay as they are.

    Args:
        state_dict: converted names -> tensors.
        model: the model that they are for.
    """
    ours: Mapping[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, value in state_dict.items():
        if name in ours and value.dim() and value.shape[0] in (91, 92) and ours[name].shape[0] in (80, 81):
            rows = value.new_zeros(ours[name].shape[0], *value.shape[1:])  # row 80 of a label table: no object
            rows[:80] = value[torch.tensor(COCO_CATEGORY_IDS, device=value.device)]
            state_dict[name] = rows


def add_no_object_row(state_dict: dict[str, Tensor], name: str, num_classes: int) -> None:
    """Make the last row of a label table, which our models keep for empty slots, zero; add it where it is missing.

    Args:
        state_dict: holds the table under `name`, (num_classes or more, C), or not at all.
        name: of the table.
        num_classes: classes of the checkpoint.
    """
    if name in state_dict:
        table = state_dict[name][:num_classes]
        state_dict[name] = torch.cat([table, table.new_zeros(1, table.shape[1])])
