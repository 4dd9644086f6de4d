"""Which precision the stand-ins compute in."""

import torch


def full_precision(*tensors):
    """fp16 and bf16 tensors as fp32, others as they are.

    torchvision has no bf16 kernels, and some ops no half ones on the CPU. One rule on every device keeps
    results alike; what goes back into a half tensor is rounded once.
    """
    return tuple(t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for t in tensors)
