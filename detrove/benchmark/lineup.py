"""From the words on a command line to contestants."""

import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from detrove.engine.config_check import load_config

from .contestant import Contestant, ExternalContestant, ExternalModel
from .generated_data import add_data_loading
from .mm_models import ConfigContestant
from .peers import timm_model, transformers_model
from .workload import Workload

PEERS = dict(timm=timm_model, transformers=transformers_model)
_FUNCTION_OF_A_FILE = re.compile(r'(.+\.py):([A-Za-z_]\w*)$')


def line_up(words: Sequence[str], workload: Workload, *, cfg_options: Mapping | None = None, data: bool = False,
            compile_mode: str | None = None, fuse: bool = False, backbone_only: bool = False) -> list[Contestant]:
    """The contestants that these words mean.

    Args:
        words: a config (a file, or `mmdet::path`), `transformers:name`, `timm:name`, or `path.py:function` where the
            function takes a `Workload` and returns an `ExternalModel` or (model, inputs). `name=` may stand in front.
        workload: what they are measured on.
        cfg_options: changes to every config.
        data: measure the configs' training pipelines too.
        compile_mode, fuse, backbone_only: see `ConfigContestant`. What is no config is measured whole.

    Raises:
        FileNotFoundError, ImportError, ValueError: for a word that means nothing here; says what was expected.
    """
    contestants = []
    for name, word in map(split_name, words):
        torch.manual_seed(0)
        external = _external(word, workload)
        if external is not None:
            # what has no other form is measured as it is, where others are fused
            fuses = fuse and external.deploy is not None
            contestants.append(ExternalContestant(name, external, workload, compile_mode=compile_mode, fuse=fuses))
            continue
        config = load_config(word, cfg_options)
        contestants.append(ConfigContestant(name, config, workload, compile_mode=compile_mode, fuse=fuse,
                                            backbone_only=backbone_only))
        if data:
            add_data_loading(contestants[-1], config)
    return contestants


def is_config(word: str) -> bool:
    """Whether it has settings that can be changed."""
    word = split_name(word)[1]
    return word.partition(':')[0] not in PEERS and not _FUNCTION_OF_A_FILE.match(word)


def split_name(word: str) -> tuple[str, str]:
    """The name that is shown, and what is measured."""
    named = re.match(r'([\w.+ -]+)=(.+)$', word)
    if named:
        return named[1], named[2]
    function = _FUNCTION_OF_A_FILE.match(word)
    if function:
        return function[2], word
    return (word if word.partition(':')[0] in PEERS else Path(word).stem), word


def _external(word: str, workload: Workload) -> ExternalModel | None:
    library, _, model_name = word.partition(':')
    if library in PEERS:
        return PEERS[library](model_name, workload)
    found = _FUNCTION_OF_A_FILE.match(word)
    if found is None:
        return None
    made = _load_function(Path(found[1]), found[2])(workload)
    if isinstance(made, ExternalModel):
        return made
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], torch.nn.Module):
        return ExternalModel(*made)
    raise ValueError(f'{word} returned {type(made).__name__}, expected an ExternalModel or (model, inputs).')


def _load_function(path: Path, name: str):
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist (looked in {Path.cwd()}).')
    spec = importlib.util.spec_from_file_location(f'detrove_benchmark_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if not callable(getattr(module, name, None)):
        raise ValueError(f'{path} has no function {name!r}.')
    return getattr(module, name)
