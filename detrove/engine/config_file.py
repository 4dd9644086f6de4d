"""Finding and reading config files, with errors that name the file and the line."""

import copy
import importlib.util
import os
import re
import traceback
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config, ConfigDict

from .safe_config import read_safe_config, refuse_circles, safe_configs_only
from .signatures import suggest

_SUFFIXES = ('.py', '.json', '.yaml', '.yml')


def find_config(name: str) -> Path:
    """The file that a person means by `name`.

    Tried in this order: the path as it is; the same inside detrove's own configs, with or without a leading
    `configs/` and the suffix; `mmdet::path` or `mmseg::path` inside the configs of an installed OpenMMLab
    package.

    Raises:
        FileNotFoundError: With where it looked and the nearest name.
    """
    if '::' in name:
        package, _, inside = name.partition('::')
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(f'config {name}: no package {package!r} is installed')
        roots = [Path(spec.submodule_search_locations[0]) / '.mim' / 'configs']
    else:
        path = Path(name).expanduser()
        if path.is_file():
            return path
        inside = name.removeprefix('configs/')
        roots = _own_config_folders()
    for root in roots:
        for candidate in (root / inside, root / f'{inside}.py'):
            if candidate.is_file():
                return candidate
    known = {file.relative_to(root).as_posix(): file for root in roots for file in root.rglob('*.py')}
    by_stem = {file.stem: name for name, file in known.items()}
    near = suggest(inside, known) or suggest(Path(inside).stem, by_stem)
    looked = ', '.join(map(str, ([] if '::' in name else [Path.cwd()]) + roots))
    raise FileNotFoundError(f'config {name} not found in {looked}{near}')


def _own_config_folders() -> list[Path]:
    package = Path(__file__).resolve().parent.parent  # a wheel has the configs inside the package, a checkout beside it
    return [folder for folder in (package / 'configs', package.parent / 'configs') if folder.is_dir()]


def read_config(name: str) -> Config:
    """Read a config file and the files it inherits from, and import its `custom_imports`.

    A config is code, and is run. Where `DETROVE_SAFE_CONFIG` is set in the environment (the option `--safe-config`),
    it is read as data, see `read_safe_config`.

    Raises:
        FileNotFoundError: If the file, or one it inherits from, is not there.
        ValueError: If a file cannot be read, naming that file and the line; if an import of the config fails.
    """
    path = find_config(name)
    if path.suffix not in _SUFFIXES:
        raise ValueError(f'config {path}: expected a file ending in {", ".join(_SUFFIXES)}')
    if safe_configs_only():
        return read_safe_config(path)
    refuse_circles(path)
    try:
        return Config.fromfile(str(path))
    except Exception as error:
        raise _located(path, error) from error


def _located(path: Path, error: Exception) -> Exception:
    """The error of mmengine's parser as one that says where in the config it comes from."""
    # mmengine keeps the file that it is reading in a local variable named `filename`.
    frames = list(traceback.walk_tb(error.__traceback__))
    files = [frame.f_locals['filename'] for frame, _ in frames if frame.f_code.co_name == '_file2dict']
    file = str(files[-1]) if files else str(path)
    line = next((number for frame, number in reversed(frames) if frame.f_code.co_filename == file), None)
    if isinstance(error, SyntaxError):
        line = error.lineno
    where = file if line is None else f'{file}, line {line}'
    inherited = '' if os.path.abspath(file) == os.path.abspath(path) else f' (read for {path})'
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f'config {path}: {error}')
    return ValueError(f'config {where}{inherited}: {type(error).__name__}: {error}')


def merge_overrides(cfg: Config, overrides: Mapping) -> None:
    """Write `--cfg-options` into a config.

    Raises:
        ValueError: If a value does not go where it should, e.g. below a number.
    """
    for key, value in overrides.items():
        try:
            cfg.merge_from_dict({key: copy.deepcopy(value)})  # mmengine takes `_delete_` out of it
        except (KeyError, TypeError, IndexError, AssertionError, AttributeError) as error:
            raise ValueError(f'--cfg-options {key}={value}: {error}') from error


def walk_typed(node, path: str = ''):
    """Yield `(path, dict)` for every dict with a `type` in a part of a config, outer ones first."""
    if isinstance(node, (dict, ConfigDict)):
        if 'type' in node:
            yield path, node
        for key, value in node.items():
            yield from walk_typed(value, f'{path}.{key}' if path else str(key))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from walk_typed(value, f'{path}.{index}')


def flat_settings(node, path: str = ''):
    """Yield dotted key and text of every setting in a part of a config; a list of plain values is one setting."""
    if isinstance(node, dict) and node:
        items = node.items()
    elif isinstance(node, (list, tuple)) and any(isinstance(item, (dict, list, tuple)) for item in node):
        items = enumerate(node)
    else:
        text = repr(list(node) if isinstance(node, tuple) else node)
        yield path, re.sub(r' at 0x[0-9a-f]+', '', text)  # where an object lies in memory
        return
    for key, item in items:
        yield from flat_settings(item, f'{path}.{key}' if path else str(key))
