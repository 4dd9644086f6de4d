"""The multilayer perceptron of DETR's box heads and query position heads."""

import torch.nn.functional as F
from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with ReLU between them, none after the last (DETR, Carion et al. 2020, section 3.2).

    Args:
        in_dims: channels of the input.
        hidden_dims: channels between layers.
        out_dims: channels of the output.
        num_layers: number of linear layers, at least 1.
    """

    def __init__(self, in_dims: int, hidden_dims: int, out_dims: int, num_layers: int):
        super().__init__()
        dims = [in_dims] + [hidden_dims] * (num_layers - 1) + [out_dims]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(dims[:-1], dims[1:], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in_dims) -> (..., out_dims)."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)
