"""The state of the random generators of this process: taken, put back, and set from a few integers."""

import contextlib
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch


def take_random_state() -> dict:
    """What Python, NumPy, torch and the current GPU will draw next, as tensors and plain values."""
    version, inner, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    state = dict(
        python=[version, list(inner), gauss],
        numpy=[name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def put_random_state(state: dict) -> None:
    """Put back what `take_random_state` returned."""
    version, inner, gauss = state['python']
    random.setstate((version, tuple(inner), gauss))
    name, keys, position, has_gauss, cached = state['numpy']
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


def seed_host(entropy: Sequence[int]) -> None:
    """Seed Python, NumPy and torch's CPU generator from non-negative integers; GPUs draw on as they were."""
    words = np.random.SeedSequence(entropy).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(words[1:3])
    torch.default_generator.manual_seed(int(words[3]))


@contextlib.contextmanager
def seeded_host(entropy: Sequence[int]) -> Iterator[None]:
    """`seed_host` for what runs inside; afterwards the process draws on as if nothing had happened."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed_host(entropy)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
