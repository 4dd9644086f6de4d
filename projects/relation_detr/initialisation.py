"""Initial weights of Relation-DETR where they are not those of the shared modules."""

from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from detrove.layers import MLP


@WEIGHT_INITIALIZERS.register_module()
class RelationDETRInit:
    """For `init_cfg` of the detector: every MLP starts from Xavier's uniform distribution with zero biases.

    So does the projection of the tokens. The last layer of a box head, zero, stays zero.
    """

    def __call__(self, module: nn.Module) -> None:
        for part in module.modules():
            if isinstance(part, MLP):
                for linear in part.layers:
                    nn.init.zeros_(linear.bias)
                    if linear.weight.any():
                        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(module.query_selection.output_proj.bias)
