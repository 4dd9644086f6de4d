"""Half precision for the network's matrix products; boxes, sampling positions and scores stay in fp32."""

from __future__ import annotations

import torch
from torch import nn

from detrove.layers import BoxPosition, MSDeformableAttention


def to_half(network: nn.Module) -> None:
    """Store weights as float16, in place.

    What is handed boxes as they are keeps float32: the MLP on box coordinates, the position relation, and the shares by
    which sampling offsets are scaled. The rest of box arithmetic is in float32 whatever the weights are
    (`detrove.layers.precision`).
    """
    kept = set()
    for module in network.modules():
        if isinstance(module, BoxPosition):
            kept.update(map(id, module.parameters()))
        elif isinstance(module, MSDeformableAttention):
            kept.update(map(id, module.buffers(recurse=False)))
        relation = getattr(module, 'relation', None)
        if isinstance(relation, nn.Module):
            kept.update(map(id, relation.parameters()))
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.dtype == torch.float32 and id(tensor) not in kept:
            tensor.data = tensor.data.half()
