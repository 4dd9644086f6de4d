"""Where half precision ends: boxes, scores and sampling positions."""

import torch
from torch import Tensor


def at_least_fp32(x: Tensor) -> Tensor:
    """x in float32 if it is in half precision, else as it is (float64 stays, so that gradients can be checked)."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
