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
        num_feats: channels of the sine embedding of each of the four numbers; None for half of embed_dims
            (MMDetection's DINO has twice as many).
        relative_to_input: on padded batches take boxes relative to the first level's padded size, as deformable DETRs
            do, and not relative to the image (DAB-DETR).
        embed_dims: channels of the queries, given by the decoder.
    """

    def __init__(self, *, scaled: bool = False, num_feats: int | None = None, relative_to_input: bool = True,
                 embed_dims: int = 256):
        super().__init__()
        self.num_feats = num_feats or embed_dims // 2
        self.relative_to_input = relative_to_input
        self.mlp = MLP(4 * self.num_feats, embed_dims, embed_dims, num_layers=2)
        self.scale = MLP(embed_dims, embed_dims, embed_dims, num_layers=2) if scaled else None
        for linear in (*self.mlp.layers, *(self.scale.layers if scaled else ())):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, layer: int, query: Tensor, reference: Tensor, memory: Memory) -> Tensor:
        """As `BoxPosition`."""
        ratios = memory.valid_ratios if self.relative_to_input else None
        if ratios is not None:
            reference = reference * ratios[:, :1].repeat(1, 1, 2)
        position = self.mlp(sine_of_boxes(reference, self.num_feats).to(query.dtype))
        return position if self.scale is None or layer == 0 else position * self.scale(query)
