"""Converters from official checkpoints, applied wherever weights are loaded."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from .class_rows import select_coco_rows
from .loading import load_weights, read_checkpoint, unwrap_state_dict

KeyMap = Iterable[tuple[str, str | None]]


@dataclass(frozen=True)
class Converter:
    """An official layout: its name, keys that only it has, and the function that converts a state dict in place."""

    name: str
    marks: tuple[str, ...]
    convert: Callable[[dict, nn.Module], None]

    def recognises(self, state_dict: dict) -> bool:
        return all(mark in state_dict for mark in self.marks)


_CONVERTERS: list[Converter] = []


def register_converter(name: str, marks: tuple[str, ...]):
    """Decorator: `convert(state_dict, model)` changes a state dict of the layout `name` into one for `model`, in place.

    The layout is known by having all keys in `marks`; the first that was registered and fits is taken.
    """

    def register(convert: Callable[[dict, nn.Module], None]):
        _CONVERTERS.append(Converter(name, marks, convert))
        return convert

    return register


def rename_keys(state_dict: dict, key_map: KeyMap, prefix: str = '') -> None:
    """Rename keys in place by the first pattern that matches at their start, after `prefix`.

    Args:
        state_dict: name -> tensor.
        key_map: (regular expression, replacement); None as replacement drops the entry.
        prefix: only keys that start with it are touched, and keep it.

    Raises:
        ValueError: if two entries would get the same name.
    """
    for key in [key for key in state_dict if key.startswith(prefix)]:
        for pattern, replacement in key_map:
            match = re.match(pattern, key[len(prefix):])
            if match is None:
                continue
            value = state_dict.pop(key)
            if replacement is not None:
                new_key = prefix + match.expand(replacement) + key[len(prefix) + match.end():]
                if new_key in state_dict:
                    raise ValueError(f'checkpoint keys clash: {key!r} would become {new_key!r}, which exists already.')
                state_dict[new_key] = value
            break


def find_converter(state_dict: dict) -> Converter | None:
    """The converter that knows this layout, or None."""
    return next((converter for converter in _CONVERTERS if converter.recognises(state_dict)), None)


def convert_while_loading(module: nn.Module, state_dict: dict, prefix: str, *_) -> None:
    """A pre-hook of `load_state_dict`: unwrap and convert an official checkpoint in place.

    State dicts in the model's own layout pass untouched.
    """
    if prefix:
        return
    weights = unwrap_state_dict(state_dict)
    converter = find_converter(weights)
    if converter is None:
        return
    weights = dict(weights)
    converter.convert(weights, module)
    select_coco_rows(weights, module)
    state_dict.clear()
    state_dict.update(weights)


def reads_official_layouts(model: nn.Module) -> bool:
    """Whether `convert_while_loading` is a hook of this model."""
    hooks = model._load_state_dict_pre_hooks.values()
    return any(getattr(hook, 'hook', hook) is convert_while_loading for hook in hooks)


def convert_file(src: str | Path, dst: str | Path, config: str | Path, *, allow_unsafe: bool = False) -> str:
    """Write the official checkpoint `src` in the layout of the model that `config` describes.

    Args:
        src: official checkpoint file.
        dst: file to write; must not exist.
        config: config file of the model.
        allow_unsafe: see `load_checkpoint_file`.

    Returns:
        Name of the layout that was found.

    Raises:
        FileExistsError: if `dst` exists.
        ValueError: if no converter knows the layout, or weights do not fit the model; lists what does not fit.
    """
    from detrove.apis import build_model

    if Path(dst).exists():
        raise FileExistsError(f'{dst} exists already; remove it or choose another name.')
    model = build_model(config)
    checkpoint = read_checkpoint(str(src), allow_unsafe=allow_unsafe)
    converter = find_converter(checkpoint['state_dict'])
    if converter is None:
        known = ', '.join(converter.name for converter in _CONVERTERS)
        raise ValueError(f'{src} has no layout that detrove knows (known: {known}); its first keys are '
                         f'{list(checkpoint["state_dict"])[:5]}.')
    load_weights(model, checkpoint['state_dict'], source=str(src), must_be_complete=True)
    Path(dst).parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(converted_from=converter.name)), dst)
    return converter.name
