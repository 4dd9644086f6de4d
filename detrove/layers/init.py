"""Initial weights that several papers share."""

from torch import nn

from .deformable_attention import MSDeformableAttention


def xavier_matrices(module: nn.Module) -> None:
    """Draw every matrix in `module` from Xavier's uniform distribution; deformable attention keeps its own start.

    Deformable DETR and its heirs (`_reset_parameters` of their transformers).
    """
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    for part in module.modules():
        if isinstance(part, MSDeformableAttention):
            part.reset_parameters()
