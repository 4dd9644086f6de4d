"""Two-stage query selection: the best encoder tokens become the decoder's queries."""

from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from .head import box_mlp, class_bias
from .precision import at_least_fp32


class SelectedQueries(NamedTuple):
    """N queries chosen from the encoder's tokens.

    content (B, N, C) and reference_unact (B, N, 4, boxes before the sigmoid) carry no gradient; logits
    (B, N, num_classes) and boxes_cxcywh (B, N, 4) are the encoder's own predictions and do. token_index (B, N).
    """

    content: Tensor
    reference_unact: Tensor
    logits: Tensor
    boxes_cxcywh: Tensor
    token_index: Tensor


def anchor_boxes(spatial_shapes: tuple[tuple[int, int], ...], base_size: float = 0.05,
                 margin: float = 0.01) -> tuple[Tensor, Tensor]:
    """One anchor box at the centre of each token.

    Args:
        spatial_shapes: (h, w) of each level.
        base_size: width and height on the first level as a share of the image, doubled from level to level.
        margin: an anchor is valid if all four numbers lie in (margin, 1 - margin).

    Returns:
        anchors before the sigmoid (1, S, 4), +inf where invalid, and valid (1, S, 1) bool.
    """
    anchors = []
    for level, (height, width) in enumerate(spatial_shapes):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
        centre = (torch.stack([x, y], -1).float() + 0.5) / torch.tensor([width, height])
        size = torch.full_like(centre, base_size * 2.0 ** level)
        anchors.append(torch.cat([centre, size], -1).view(1, -1, 4))
    anchors = torch.cat(anchors, dim=1)
    valid = ((anchors > margin) & (anchors < 1 - margin)).all(-1, keepdim=True)
    return torch.where(valid, torch.log(anchors / (1 - anchors)), torch.inf), valid


@MODELS.register_module()
class TopKQuerySelection(nn.Module):
    """Take the tokens with the highest class score as queries, their boxes as references.

    Deformable DETR's two-stage form as RT-DETR uses it (Zhao et al. 2024, section 4.3). Only the chosen tokens pass
    through the box head. On feature maps with fewer tokens than `num_queries` every token becomes a query.

    Args:
        num_queries: N, number of queries.
        num_classes: number of classes.
        embed_dims: channels of the memory.
    """

    def __init__(self, *, num_queries: int, num_classes: int, embed_dims: int = 256):
        super().__init__()
        self.num_queries = num_queries
        self.output_proj = nn.Linear(embed_dims, embed_dims)
        self.output_norm = nn.LayerNorm(embed_dims)
        self.class_head = nn.Linear(embed_dims, num_classes)
        self.bbox_head = box_mlp(embed_dims)
        nn.init.xavier_uniform_(self.output_proj.weight)
        nn.init.constant_(self.class_head.bias, class_bias())
        self._anchor_cache = {}

    def forward(self, memory: Tensor, spatial_shapes: tuple[tuple[int, int], ...]) -> SelectedQueries:
        """memory (B, S, C), the flattened levels of sizes `spatial_shapes` -> `SelectedQueries`."""
        anchors, valid = self._anchors(spatial_shapes, memory.device)
        memory = self.output_norm(self.output_proj(memory * valid.to(memory.dtype)))
        logits = at_least_fp32(self.class_head(memory))
        num_queries = min(self.num_queries, memory.shape[1])
        index = logits.amax(-1).topk(num_queries, dim=1).indices
        content = self._gather(memory, index)
        chosen_anchors = self._gather(anchors.expand(memory.shape[0], -1, -1), index)
        boxes_unact = at_least_fp32(self.bbox_head(content)) + chosen_anchors
        return SelectedQueries(content.detach(), boxes_unact.detach(), self._gather(logits, index),
                               boxes_unact.sigmoid(), index)

    @staticmethod
    def _gather(tokens: Tensor, index: Tensor) -> Tensor:
        return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))

    def _anchors(self, spatial_shapes, device: torch.device) -> tuple[Tensor, Tensor]:
        key = (spatial_shapes, device)
        if key not in self._anchor_cache:
            # made outside inference mode, so that a later training step may use them
            with torch.inference_mode(False):
                self._anchor_cache[key] = tuple(x.to(device) for x in anchor_boxes(spatial_shapes))
        return self._anchor_cache[key]
