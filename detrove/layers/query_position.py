"""Positions of decoder queries, made anew from their references before each layer."""

from mmdet.registry import MODELS
from torch import Tensor, nn

from .memory import Memory
from .mlp import MLP
from .sine import sine_of_boxes


@MODELS.register_module()
class BoxPosition(nn.Module):
    """An MLP on the four numbers of the box (RT-DETR).

    Args:
        embed_dims: channels of the queries, given by the decoder.
    """

    def __init__(self, *, embed_dims: int = 256):
        super().__init__()
        self.mlp = MLP(4, 2 * embed_dims, embed_dims, num_layers=2)
        for linear in self.mlp.layers:
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, layer: int, query: Tensor, reference: Tensor, memory: Memory) -> Tensor:
        """reference (B, Q, 4), boxes cxcywh in [0, 1] -> position (B, Q, C) for decoder layer `layer`."""
        return self.mlp(reference).to(query.dtype)


@MODELS.register_module()
class SineBoxPosition(nn.Module):
    """An MLP on the sine embedding of the box, optionally scaled by the query.

    DAB-DETR (Liu et al. 2022), section 4.2; DINO without, Relation-DETR with the scale.

    Args:
        scaled: multiply by an MLP of the query from the second layer on.
        embed_dims: channels of the queries, given by the decoder.
    """

    def __init__(self, *, scaled: bool = False, embed_dims: int = 256):
        super().__init__()
        self.embed_dims = embed_dims
        self.mlp = MLP(2 * embed_dims, embed_dims, embed_dims, num_layers=2)
        self.scale = MLP(embed_dims, embed_dims, embed_dims, num_layers=2) if scaled else None
        for linear in (*self.mlp.layers, *(self.scale.layers if scaled else ())):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, layer: int, query: Tensor, reference: Tensor, memory: Memory) -> Tensor:
        """As `BoxPosition`; on padded batches boxes are taken relative to the first level's padded size."""
        if memory.valid_ratios is not None:
            reference = reference * memory.valid_ratios[:, :1].repeat(1, 1, 2)
        position = self.mlp(sine_of_boxes(reference, self.embed_dims // 2).to(query.dtype))
        return position if self.scale is None or layer == 0 else position * self.scale(query)
