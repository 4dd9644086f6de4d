"""Memory of a training step."""

from collections.abc import Callable

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile


def saved_bytes(run: Callable[[], object], model: nn.Module) -> int:
    """Bytes of tensors that the forward pass keeps for the backward, parameters not counted; the same on every device.
    """
    kept = {parameter.untyped_storage().data_ptr(): 0 for parameter in model.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept.setdefault(storage.data_ptr(), storage.nbytes())
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(kept.values())


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """Most memory that PyTorch allocated on the device while `run` ran, above what it had before.

    What libraries below PyTorch allocate by themselves (workspaces of oneDNN, of cuDNN) is not in it.
    """
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    used = peak = 0
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == '[memory]']
    for event in sorted(events, key=lambda event: event.start_ns()):
        used += event.nbytes()
        peak = max(peak, used)
    return peak
