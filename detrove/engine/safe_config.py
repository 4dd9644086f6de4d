"""Configs from strangers, read as data: nothing of them is run or imported, and they name only what is registered."""

import functools
import importlib.util
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from urllib.parse import urlparse

import yaml
from mmengine.config import Config, ConfigDict

from .config_reader import MAX_DEPTH, MAX_STEPS, read_assignments
from .signatures import ALL_REGISTRIES, registries_of

SAFE_VARIABLE = 'DETROVE_SAFE_CONFIG'
MAX_BYTES = 2**20
_SCOPES = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain')
_IMPORTS = ('detrove', 'detrove.projects')
#: Keys by which something is looked up in a registry, which imports a module where the name is not registered.
_LOOKED_UP = {'type', 'constructor', 'runner_type', 'collate_fn'}
#: Keys whose text some class of the OpenMMLab packages evaluates, and a class that does so with all of its text.
_EVALUATED, _EVALUATES = {'warp_mode', 'dtype'}, {'RFSearchHook'}
#: Keys that say where something is written.
_WRITTEN = {
    'annotation_cache', 'cache_dir', 'collect_dir', 'dir_name', 'exp_name', 'json_trace_path', 'log_dir', 'out_dir',
    'out_file', 'out_file_path', 'outfile_path', 'outfile_prefix', 'output_dir', 'save_dir', 'show_dir', 'tmpdir',
    'work_dir',
}  # fmt: skip


def safe_configs_only() -> bool:
    """Whether the environment asks for configs to be read as data."""
    return os.environ.get(SAFE_VARIABLE, '0').lower() not in ('', '0', 'false')


def read_safe_config(path: Path) -> Config:
    """Read a config file, and those it inherits from, as data.

    It may not import anything but detrove, name classes that are not registered, set paths outside of the current
    folder for what is written, name addresses other than https ones of checkpoints, or take variables from the
    environment.

    Raises:
        FileNotFoundError: If the file, or one it inherits from, is not there.
        ValueError: With the file and what in it is refused.
    """
    refuse_circles(path.absolute())
    settings, text = _read(path.absolute())
    problems = list(_problems(settings))
    if problems:
        lines = ''.join(f'\n  {problem}' for problem in problems[:20])
        raise ValueError(f'config {path} holds what --safe-config does not take from strangers:{lines}\nIf you trust '
                         'where it comes from, leave the option out.')
    try:
        return Config(settings, cfg_text=text, filename=str(path))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'config {path}: {error}') from error


def refuse_circles(path: Path, heirs: tuple[Path, ...] = ()) -> None:
    """Follow `_base_` of a config as far as it is written out.

    Raises:
        ValueError: If a file inherits from itself, with the way round.
    """
    if path.resolve() in heirs:
        raise ValueError(f'config {heirs[0]} inherits from itself: {" -> ".join(map(str, (*heirs, path)))}')
    try:
        names = _bases(path.read_text(encoding='utf-8'), path)
    except (OSError, ValueError):  # told of by who reads the file
        return
    for name in names:
        if '::' not in name and os.path.isfile(path.parent / name):
            refuse_circles(path.parent / name, (*heirs, path.resolve()))


def _read(path: Path) -> tuple[dict, str]:
    """Settings of a file, with those it inherits, and the texts of all."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f'config {path} has more than {MAX_BYTES:,} bytes')
    try:
        text = path.read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(f'config {path} is not text in UTF-8: {error}') from error
    if re.search(r'\{\{[\'"]?\s*(\$|file)', text):
        raise ValueError(f'config {path}: {{{{$NAME:default}}}} and {{{{ fileDirname }}}} are not read with '
                         '--safe-config; write the values')
    base, texts = {}, []
    for name in _bases(text, path):
        inherited, inherited_text = _read(_find_base(name, path))
        twice = sorted(base.keys() & inherited.keys())
        if twice:
            raise ValueError(f'config {path}: {twice} are in more than one of the files that it inherits from')
        scope = name.partition('::')[0] if '::' in name else None
        base |= Config._dict_to_config_dict(inherited, scope)
        texts.append(inherited_text)
    base = ConfigDict(base)
    settings = read_assignments(text, path, dict(_base_=base)) if path.suffix == '.py' else _parsed(text, path)
    settings = {key: value for key, value in settings.items() if key != '_base_' and not str(key).startswith('__')}
    try:
        Config._parse_scope(settings)
        merged = Config._merge_a_into_b(settings, base)
    except (TypeError, KeyError, IndexError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f'config {path}: it does not fit the config that it inherits from: {error}') from error
    return dict(merged), '\n'.join([*texts, f'{path}\n{text}'])


def _bases(text: str, path: Path) -> list[str]:
    if path.suffix == '.py':
        # `_base_` is the name of the files where it is assigned, and what was read from them everywhere else
        lines = re.search(r'^_base_\s*=\s*(\[[^\]]*\]|\([^)]*\)|.*$)', text, re.MULTILINE)
        names = read_assignments(lines[0], path, {}).get('_base_') if lines else []
    else:
        names = _parsed(text, path).get('_base_', [])
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f'config {path}: _base_ has to name files, and is {names!r:.200}')
    return list(names)


def _find_base(name: str, heir: Path) -> Path:
    if '::' in name:
        from .config_file import find_config

        scope = name.partition('::')[0]
        if scope not in _SCOPES:
            raise ValueError(f'config {heir}: _base_ {name!r} is in no package of {", ".join(_SCOPES)}')
        try:
            return find_config(name)
        except FileNotFoundError as error:
            raise FileNotFoundError(f'config {heir}: {error}') from error
    path = heir.parent / name
    if not os.path.isfile(path):
        raise FileNotFoundError(f'config {heir}: no file {name!r} to inherit from: {path}')
    if path.suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise ValueError(f'config {heir}: _base_ {name!r} is no config')
    return path


def _parsed(text: str, path: Path) -> dict:
    """JSON or YAML."""
    try:
        content = json.loads(text) if path.suffix == '.json' else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ValueError(f'config {path}: {error}') from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ValueError(f'config {path}: it has to hold settings by name, and is {str(type(content).__name__)}')
    rest, number = [(content, 0)], 0
    while rest:  # YAML lets the same list stand in another many times over
        one, depth = rest.pop()
        number += 1
        if number > MAX_STEPS or depth > MAX_DEPTH:
            raise ValueError(f'config {path}: it has more than {MAX_STEPS:,} values, or more than {MAX_DEPTH} inside '
                             'another')
        rest += [(item, depth + 1) for item in (one.values() if isinstance(one, dict) else one)] if isinstance(
            one, dict | list) else []
    return content


def _problems(settings: Mapping) -> Iterator[str]:
    for path, key, value in _walk(settings, ''):
        yield from _setting_problems(path, key, value)


def _setting_problems(path: str, key: str, value) -> Iterator[str]:
    if key in _LOOKED_UP and isinstance(value, str) and not _is_registered(value):
        yield f'{path}: {value!r} is not registered, so that looking it up would import a module of that name'
    elif key in ('default_scope', '_scope_') and value is not None and value not in _SCOPES:
        yield f'{path}: {value!r} is none of {", ".join(_SCOPES)}'
    elif key == 'custom_imports' and value is not None:
        names = value.get('imports', []) if isinstance(value, Mapping) else value
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list | tuple) or any(name not in _IMPORTS for name in names):
            yield f'{path}: imports other than {" and ".join(_IMPORTS)}: {value!r:.200}'
    elif key == 'trust_remote_code' and value:
        yield f'{path}: runs code from another place'
    elif isinstance(value, str) and key in _WRITTEN and _leads_out(value):
        yield f'{path}: {value!r} leads out of the current folder'
    elif key in _EVALUATED and isinstance(value, str) and not re.fullmatch(r'[\w.]+', value):
        yield f'{path}: {value!r:.200} would be evaluated'
    elif isinstance(value, str) and '://' in value and not _is_checkpoint_address(key if '.' in path else '', value):
        yield f'{path}: {value!r:.200} is an address, and none of a checkpoint: https, of a host with a name'
    elif not isinstance(value, str | int | float | type(None) | Mapping | list | tuple | set | range):
        yield f'{path}: a value of the kind {type(value).__name__}'


def _is_registered(name: str) -> bool:
    scope, point, bare = name.partition('.')
    if _EVALUATES & {name, bare}:
        return False
    if point and scope in _SCOPES:
        return bare in _registered(scope)
    return any(name in _registered(scope) for scope in _SCOPES) or _is_operator(name)


def _is_operator(name: str) -> bool:
    """`nms`, `RoIAlign`: mmcv evaluates such a name among its operators."""
    import mmcv.ops

    found = getattr(mmcv.ops, name, None) if name.isidentifier() and not name.startswith('_') else None
    return callable(found) and found.__module__.startswith(('mmcv.', 'detrove.'))


@functools.lru_cache
def _registered(scope: str) -> frozenset[str]:
    if importlib.util.find_spec(scope) is None:
        return frozenset()
    names = set()
    for registry in registries_of(ALL_REGISTRIES, 'mmengine' if scope == 'mmcv' else scope):
        registry.import_from_location()
        while registry is not None:
            names |= set(registry.module_dict)
            registry = registry.parent
    return frozenset(names)


def _leads_out(path: str) -> bool:
    return path.startswith('~') or PurePath(path).is_absolute() or '..' in PurePath(path).parts


def _is_checkpoint_address(key: str, value: str) -> bool:
    """Whether nothing but a checkpoint is fetched from there; variables, of which the key is empty, fetch nothing."""
    if not value.startswith('https://'):
        return bool(re.match(r'(torchvision|open-mmlab|modelzoo|mmcls|mmpretrain)://[\w./-]+$', value))
    try:
        host = urlparse(value).netloc
    except ValueError:
        return False
    return key in ('', 'checkpoint', 'load_from') and bool(re.fullmatch(r'([\w-]+\.)+[a-z]{2,}', host))


def _walk(node, path: str) -> Iterator[tuple[str, str, object]]:
    items = node.items() if isinstance(node, Mapping) else enumerate(node)
    for key, value in items:
        inner = f'{path}.{key}' if path else str(key)
        yield inner, str(key), value
        if isinstance(value, Mapping | list | tuple):
            yield from _walk(value, inner)
