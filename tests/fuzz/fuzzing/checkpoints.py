"""Checkpoints: of this model and of others, damaged, and with programs in them."""

import collections
import io
import os
import pickle
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn

from detrove.checkpoints import load_weights, read_checkpoint

from .oracle import Case
from .trees import SCALARS, damaged


class Program:
    """Unpickled, it runs something."""

    def __init__(self, call: tuple):
        self.call = call

    def __reduce__(self):
        return self.call


PROGRAMS = (
    (os.system, ('touch MARK',)),
    (eval, ("open('MARK', 'w').close()",)),
    (exec, ("import os; os.mkdir('MARK')",)),
    (open, ('MARK', 'w')),
    (os.mkdir, ('MARK',)),
    (getattr, ('text', 'upper')),
    (__import__, ('this',)),
    (torch.hub.download_url_to_file, ('http://127.0.0.1:9/a', 'MARK')),
    (np.save, ('MARK', 0)),
    (torch.load, ('MARK',)),
    (collections.deque, ([1],)),
)


def tiny_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def _saved(content, form: str) -> bytes:
    stream = io.BytesIO()
    if form == 'pickle':
        pickle.dump(content, stream, protocol=2)
    else:
        torch.save(content, stream, _use_new_zipfile_serialization=form == 'zip')
    return stream.getvalue()


@st.composite
def checkpoint_files(draw) -> Case:
    weights = dict(tiny_model().state_dict())
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(sorted(weights, key=repr) or ['none']))
        change = draw(st.sampled_from(['shape', 'nan', 'type', 'drop', 'name', 'scalar', 'program', 'array', 'list']))
        if change == 'drop':
            weights.pop(name, None)
        elif change == 'name':
            weights[draw(st.one_of(st.text(max_size=5), SCALARS))] = torch.zeros(2)
        else:
            weights[name] = dict(
                shape=torch.zeros(draw(st.lists(st.integers(0, 3), max_size=4))), nan=torch.full((4,), float('nan')),
                type=torch.zeros(4, dtype=draw(st.sampled_from([torch.int64, torch.bool, torch.complex64,
                                                                torch.float64, torch.bfloat16]))),
                scalar=draw(SCALARS), program=Program(draw(st.sampled_from(PROGRAMS))), array=np.zeros(3),
                list=[1, 2])[change]
    kind = draw(st.sampled_from(['bare', 'state_dict', 'model', 'ema', 'list', 'scalar', 'meta']))
    program = Program(draw(st.sampled_from(PROGRAMS)))
    content = dict(bare=weights, state_dict=dict(state_dict=weights, meta=dict(epoch=3)), model=dict(model=weights),
                   ema=dict(ema=dict(module=weights), model=5), list=[weights], scalar=draw(SCALARS),
                   meta=dict(state_dict=weights, meta=program))[kind]
    content = _saved(content, draw(st.sampled_from(['zip', 'zip', 'legacy', 'pickle'])))
    if draw(st.integers(0, 2)) == 0:
        content = draw(damaged(content))
    name = f'epoch_1{draw(st.sampled_from([".pth", ".pth", ".pkl", ".safetensors", ".pt"]))}'
    complete = draw(st.booleans())

    def load(folder: Path) -> None:
        before = Path.cwd()
        os.chdir(folder)  # where programs leave their marks
        try:
            state_dict = read_checkpoint(str(folder / name))['state_dict']
            model = tiny_model()
            load_weights(model, state_dict, source=str(folder / name), must_be_complete=complete)
            assert all(value.isfinite().all() for value in model.state_dict().values())
        finally:
            os.chdir(before)

    return Case({name: content}, load, name, f'{kind} {content[:80]!r}')
