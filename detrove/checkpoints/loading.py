"""Reading checkpoint files and putting their weights into a model, with a report of what did not fit."""

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn

from detrove.compat.safe_load import allow_mmengine_checkpoints

from .download import fetch, is_address
from .pickled_arrays import read_pickled_arrays

_SIZE_MISMATCH = re.compile(
    r'size mismatch for (\S+): copying a param with shape (.*?) from checkpoint, '
    r'the shape in current model is (.*)\.$',
    re.MULTILINE,
)


def read_checkpoint(
    filename: str,
    *,
    map_location='cpu',
    allow_unsafe: bool = False,
    revise_keys: Sequence[tuple[str, str]] = ((r'^module\.', ''),),
) -> dict:
    """Read a checkpoint and find the weights in it.

    Args:
        filename: A path, or an http(s) address; see `fetch`.
        map_location: As for `torch.load`.
        allow_unsafe: Also read a file that runs code when opened.
        revise_keys: Pairs (regular expression, replacement) applied to the names of the entries.

    Returns:
        The checkpoint, its weights under `state_dict`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no checkpoint, or needs more than `weights_only=True` and that is not allowed.
    """
    checkpoint = load_file(_local_path(filename), map_location, allow_unsafe=allow_unsafe)
    state_dict = unwrap_state_dict(checkpoint)
    if state_dict is checkpoint:
        checkpoint = {}
    strange = [name for name in state_dict if not isinstance(name, str)]
    if strange:
        raise ValueError(f'{filename} is not a checkpoint: its entries are named by text, but not {strange[0]!r:.200}')
    for pattern, replacement in revise_keys:
        state_dict = {re.sub(pattern, replacement, name): value for name, value in state_dict.items()}
    return {**checkpoint, 'state_dict': state_dict}


def load_file(path: str, map_location='cpu', *, allow_unsafe: bool = False) -> dict:
    """The content of a checkpoint file on this machine; see `read_checkpoint`."""
    allow_mmengine_checkpoints()
    try:
        if path.endswith('.safetensors'):  # what timm and Hugging Face publish
            from safetensors.torch import load_file as load_safetensors  # comes with timm
            return load_safetensors(path, device=str(map_location))
        if path.endswith('.pkl') and not zipfile.is_zipfile(path):  # detectron2's
            checkpoint = read_pickled_arrays(path, allow_unsafe=allow_unsafe)
        else:
            checkpoint = torch.load(path, map_location=map_location, weights_only=not allow_unsafe)
    except pickle.UnpicklingError as error:
        reason = next((line for line in str(error).splitlines() if 'global' in line.lower()), None)
        if reason is None:
            raise _damaged(path, error) from error
        raise ValueError(
            f'{path} holds more than weights, and opening it could run code: {reason.strip()} '
            'If you trust where it comes from, pass --allow-unsafe-checkpoint (allow_unsafe=True in Python).'
        ) from error
    except (PermissionError, MemoryError, ImportError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # what a damaged file makes the readers do: nearly all kinds were seen
        raise _damaged(path, error) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f'{path} is not a checkpoint: it holds a {type(checkpoint).__name__}, not a dict of weights')
    return checkpoint


def _local_path(filename: str) -> str:
    if is_address(filename):
        return fetch(filename)
    if not Path(filename).expanduser().is_file():
        raise FileNotFoundError(f'checkpoint not found: {Path(filename).expanduser().absolute()}')
    return str(Path(filename).expanduser())


def _damaged(path: str, error: Exception) -> ValueError:
    first_line = str(error).partition('\n')[0] or type(error).__name__
    return ValueError(f'{path} is damaged or not a PyTorch checkpoint: {first_line}')


def unwrap_state_dict(checkpoint: dict) -> dict:
    """The dict of weights inside a checkpoint.

    Knows `{'state_dict': ...}` (OpenMMLab), `{'ema': {'module': ...}}` before `{'model': ...}` (RT-DETR and its
    descendants publish the averaged weights), `{'state_dict_ema': ...}` (timm's averaged weights), `{'model': ...}`
    (Meta's projects) and bare state dicts.
    """
    for path in (('state_dict',), ('ema', 'module'), ('state_dict_ema',), ('model',)):
        inner = checkpoint
        for key in path:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            return inner
    return checkpoint


@dataclass(frozen=True)
class LoadReport:
    """Which entries of a checkpoint went into a model.

    Attributes:
        source: Where the checkpoint came from.
        num_loaded: How many entries of the checkpoint were copied.
        missing: Entries of the model that the checkpoint lacks.
        unexpected: Entries of the checkpoint that the model lacks.
        mismatched: `name: shape in the checkpoint, shape in the model`.
    """

    source: str
    num_loaded: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]

    def __str__(self) -> str:
        head = f'loaded {self.num_loaded} entries from {self.source}'
        lists = [
            _shorten('missing in the checkpoint, left as initialised', self.missing),
            _shorten('not in the model, left out', self.unexpected),
            _shorten('of another shape, left as initialised', self.mismatched),
        ]
        return '\n'.join([head, *filter(None, lists)])


def load_weights(
    model: nn.Module, state_dict: Mapping[str, Tensor], *, source: str, must_be_complete: bool = False
) -> LoadReport:
    """Copy the entries that fit into the model.

    Args:
        model: Its own `_load_from_state_dict` methods and hooks may rename entries.
        state_dict: Entries by name.
        source: Where they come from, for messages.
        must_be_complete: Refuse a checkpoint that leaves an entry of the model as it was. Entries that the model does
            not have are reported, not refused: they change no prediction.

    Raises:
        ValueError: If most entries of the checkpoint fit nowhere (it belongs to another model), if it is not complete
            and must be, or if an entry is NaN or no tensor.
    """
    _refuse_broken(state_dict, source)
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    found = {}
    hook = model.register_load_state_dict_post_hook(
        lambda _, keys: found.update(missing=tuple(keys.missing_keys), unexpected=tuple(keys.unexpected_keys))
    )
    mismatched = ()
    try:
        model.load_state_dict(state_dict, strict=False)
    except RuntimeError as error:
        mismatched = tuple(f'{name}: {theirs}, {ours}' for name, theirs, ours in _SIZE_MISMATCH.findall(str(error)))
        if not mismatched:
            raise ValueError(f'{source} does not fit {type(model).__name__}: {error}') from error
    finally:
        hook.remove()
    report = LoadReport(
        source=source,
        num_loaded=len(state_dict) - len(found['unexpected']) - len(mismatched),
        missing=tuple(name for name in found['missing'] if not name.endswith('num_batches_tracked')),
        unexpected=found['unexpected'],
        mismatched=mismatched,
    )
    if 2 * report.num_loaded < len(state_dict):
        raise ValueError(
            f'{source} belongs to another model: of its {len(state_dict)} entries only {report.num_loaded} fit '
            f'{type(model).__name__}. Check that config and checkpoint go together.\n{report}'
        )
    if must_be_complete and (report.missing or report.mismatched):
        raise ValueError(
            f'{source} does not fill the model: {len(report.missing)} entries are missing and '
            f'{len(report.mismatched)} have another shape, so these would stay random. Check that config and '
            f'checkpoint go together, or pass --allow-partial.\n{report}'
        )
    return report


def _refuse_broken(state_dict: Mapping[str, Tensor], source: str) -> None:
    diverged = [name for name, value in state_dict.items()
                if isinstance(value, Tensor) and value.is_floating_point() and value.isnan().any()]
    if diverged:
        raise ValueError(f'{source} has NaN in {len(diverged)} entries, for example {diverged[0]}: the training had '
                         'diverged when it was written. Take an earlier checkpoint.')


def _shorten(title: str, names: Sequence[str], limit: int = 12) -> str:
    if not names:
        return ''
    more = f', and {len(names) - limit} more' if len(names) > limit else ''
    return f'  {title} ({len(names)}): {", ".join(names[:limit])}{more}'
