"""Finding what is wrong with a config before anything is built or written."""

import importlib
import inspect
from collections.abc import Iterator, Mapping

from mmengine.config import Config
from mmengine.runner import Runner

from .config_file import merge_overrides, read_config, walk_typed
from .data_check import data_problems, path_problems
from .signatures import (
    ALL_REGISTRIES,
    accepted_arguments,
    find_registered,
    find_scope,
    registered_names,
    suggest,
)

# Keys of a config that a runner, the command line or a hook reads beside the arguments of the Runner.
_FURTHER_KEYS = {
    'activation_checkpointing', 'allow_unsafe_checkpoint', 'auto_scale_lr', 'channels_last', 'compile',
    'custom_imports', 'efficient_conv_bn_eval', 'evaluate_raw', 'find_unused_parameters', 'fsdp', 'log_to',
    'model_wrapper_cfg', 'partial_checkpoint_ok', 'resume_changed', 'runner_type',
    'skip_non_finite', 'strategy', 'sync_bn', 'tta_model', 'tta_pipeline', 'vis_backends', 'watchdog',
}  # fmt: skip
RUNNER_KEYS = (set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}) | _FURTHER_KEYS

# Where a part of a config is looked up: key -> registries.
_SECTIONS = {
    'model': ('MODELS', 'TASK_UTILS', 'WEIGHT_INITIALIZERS'),
    'tta_model': ('MODELS', 'TASK_UTILS'),
    'optim_wrapper': ('OPTIM_WRAPPERS',),
    'param_scheduler': ('PARAM_SCHEDULERS',),
    'default_hooks': ('HOOKS',),
    'custom_hooks': ('HOOKS',),
    'visualizer': ('VISUALIZERS',),
    'log_processor': ('LOG_PROCESSORS',),
}
_PHASES = {'train': ('train', 'val'), 'test': ('test',)}
_PHASE_SECTIONS = {
    'cfg': ('LOOPS',),
    'dataloader': ('DATASETS', 'DATA_SAMPLERS', 'FUNCTIONS'),
    'evaluator': ('METRICS',),
}
_INNER = {'pipeline': ('TRANSFORMS',), 'transforms': ('TRANSFORMS',), 'optimizer': ('OPTIMIZERS',),
          'vis_backends': ('VISBACKENDS',)}  # fmt: skip
# Arguments that are taken out before the class is called.
_TAKEN_OUT = {
    'HOOKS': {'priority'},
    'PARAM_SCHEDULERS': {'convert_to_iter_based'},
    'OPTIM_WRAPPERS': {'optimizer', 'constructor', 'paramwise_cfg'},
    'MODELS': {'bg_cls_weight'},  # DETR's heads take it out of their loss
}
# Layers are built by mmcv functions that take keys of their own out of these.
_LAYER_SETTINGS = {
    'conv_cfg',
    'norm_cfg',
    'act_cfg',
    'upsample_cfg',
    'dcn',
    'sac',
    'init_cfg',
    'plugins',
    'cfg',
}
# Settings of one kind only: key, kinds, how they are called.
_KINDS = (
    *((key, str, 'text') for key in ('default_scope', 'load_from', 'work_dir')),
    *((key, (Mapping, type(None)), 'a dict') for key in (
        'model', 'optim_wrapper', 'default_hooks', 'visualizer', 'log_processor', 'train_dataloader', 'val_dataloader',
        'test_dataloader', 'env_cfg')),
    ('custom_hooks', (list, tuple), 'a list'),
)  # fmt: skip
# Dicts without a `type` that may hold any key.
_FREE_FORM = {
    'env_cfg', 'randomness', 'train_cfg', 'test_cfg', 'data_prefix', 'filter_cfg', 'metainfo', 'dist_cfg',
    'mp_cfg', 'backend_args', 'paramwise_cfg', 'custom_keys', 'clip_grad', 'default_hooks',
}  # fmt: skip


def load_config(name: str, overrides: Mapping | None = None) -> Config:
    """Read a config file and write overrides into it.

    Args:
        name: A path or a name, see `find_config`.
        overrides: Dotted key to value, as from `--cfg-options`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read, or an override names a setting that does not exist; with the
            nearest name.
    """
    # registers every module, also where a config's own custom_imports replace those of the base config
    importlib.import_module('detrove.projects')
    cfg = read_config(name)
    problems = [problem for key in overrides or {} for problem in _override_problems(cfg, key)]
    _raise('--cfg-options', problems)
    merge_overrides(cfg, overrides or {})
    return cfg


def check_config(cfg: Config, *, mode: str) -> None:
    """Check what training or testing would use: names, types, arguments, files, and that classes match the
    heads.

    Args:
        cfg: The complete config, `work_dir` and `load_from` included.
        mode: `train` (training and validation) or `test`.

    Raises:
        ValueError: With every problem found.
    """
    problems = list(_kind_problems(cfg))
    _raise(f'config {cfg.filename}', problems)  # what follows takes these for granted
    try:
        problems = list(config_problems(cfg, mode=mode))
        if not problems:  # what follows looks the types up
            scope = cfg.get('default_scope') or 'mmengine'
            problems += data_problems(cfg, phases=_PHASES[mode], scope=scope)
        problems += path_problems(cfg)
    except (AttributeError, ImportError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f'config {cfg.filename}: a value in it is of a kind that does not go where it stands: '
                         f'{type(error).__name__}: {error} (--debug shows what was looked at)') from error
    _raise(f'config {cfg.filename}', problems)


def _kind_problems(cfg: Config) -> Iterator[str]:
    """Settings that are of another kind than whatever reads them expects."""
    for key, kinds, expected in _KINDS:
        if cfg.get(key) is not None and not isinstance(cfg[key], kinds):
            yield f'{key}: expected {expected}, got {cfg[key]!r:.100}'
    for section in RUNNER_KEYS & set(cfg):
        for path, node in walk_typed(cfg[section], section):
            if not isinstance(node['type'], str) and not callable(node['type']):
                yield f'{path}.type: expected the name of a class, got {node["type"]!r:.100}'
            for key in ('ann_file', 'data_root'):
                if not isinstance(node.get(key), str | None):
                    yield f'{path}.{key}: expected text, got {node[key]!r:.100}'


def config_problems(cfg: Config, *, mode: str) -> Iterator[str]:
    """Names, types and arguments that are unknown, without a look at files; arguments as for `check_config`."""
    scope = cfg.get('default_scope') or 'mmengine'
    yield from _top_level_problems(cfg)
    for path, section, registries in _sections(cfg, mode):
        yield from _part_problems(section, path, registries, scope)


def _raise(where: str, problems: list[str]) -> None:
    if problems:
        lines = ''.join(f'\n  {problem}' for problem in problems)
        raise ValueError(f'{where}: {len(problems)} problem{"s" if len(problems) > 1 else ""}{lines}')


def _top_level_problems(cfg: Config) -> Iterator[str]:
    """A config may define any variable, so only what is nearly the name of a setting is wrong."""
    for key in cfg:
        if key not in RUNNER_KEYS:
            near = suggest(key, RUNNER_KEYS, cutoff=0.92)
            if near:
                yield f'unknown key {key}{near}'
    if 'model' not in cfg:
        yield 'there is no `model`'


def _sections(cfg: Config, mode: str) -> Iterator[tuple[str, object, tuple[str, ...]]]:
    for key, registries in _SECTIONS.items():
        if cfg.get(key) is not None and (mode == 'train' or key not in ('optim_wrapper', 'param_scheduler')):
            yield key, cfg[key], registries
    for phase in _PHASES[mode]:
        for suffix, registries in _PHASE_SECTIONS.items():
            key = f'{phase}_{suffix}'
            if cfg.get(key) is not None:
                yield key, cfg[key], registries


def _part_problems(section, section_path: str, registries: tuple[str, ...], scope: str) -> Iterator[str]:
    albumentations = None
    for path, node in walk_typed(section, section_path):
        if albumentations is not None and path.startswith(albumentations):
            continue  # names of that library
        if node['type'] == 'Albu':
            albumentations = f'{path}.'
        keys = [key for key in path.split('.') if not key.isdigit()]
        names = next((_INNER[key] for key in reversed(keys) if key in _INNER), registries)
        target = find_registered(node['type'], names, scope)
        if target is None:
            yield from _type_problems(node['type'], path, names, scope)
        elif not set(keys) & _LAYER_SETTINGS:
            yield from _argument_problems(node, target, path, names)


def _type_problems(type_name: str, path: str, names: tuple[str, ...], scope: str) -> Iterator[str]:
    bare_name = type_name.rpartition('.')[2]
    is_class_name = bare_name[:1].isupper()  # a head or neck may use `type` for a mode of its own
    if is_class_name and find_registered(type_name, ALL_REGISTRIES, scope) is None and not _is_op(type_name):
        searched = type_name.rpartition('.')[0] or scope
        elsewhere = find_scope(bare_name, names)
        if elsewhere is not None:
            hint = (
                f', but in {elsewhere}: write type={f"{elsewhere}.{bare_name}"!r}, or set '
                f'default_scope={elsewhere!r} if the whole config is meant for {elsewhere}'
            )
        else:
            hint = suggest(bare_name, registered_names(names, scope))
        yield f'{path}.type: {type_name!r} is not registered in {" or ".join(names)} of {searched}{hint}'


def _is_op(name: str) -> bool:
    """Some settings name a function of mmcv.ops: nms, RoIAlign."""
    import mmcv.ops

    return hasattr(mmcv.ops, name)


def _argument_problems(node: Mapping, target, path: str, names: tuple[str, ...]) -> Iterator[str]:
    accepted = accepted_arguments(target)
    if accepted is None or target.__module__.startswith('torch.nn'):
        return
    taken_out = {'type', '_scope_'}.union(*(_TAKEN_OUT.get(name, ()) for name in names))
    for key in node:
        if key not in accepted and key not in taken_out:
            near = suggest(str(key), accepted)
            yield f'{path}.{key}: {target.__name__} has no argument {key!r}{near}'


def _override_problems(cfg: Config, dotted_key: str) -> Iterator[str]:
    scope = cfg.get('default_scope') or 'mmengine'
    keys = dotted_key.split('.')
    if keys[0] not in RUNNER_KEYS:
        yield from _no_setting(cfg, keys[0], dotted_key)
        return
    node = cfg
    for depth, key in enumerate(keys):
        here = '.'.join(keys[:depth])
        if isinstance(node, (list, tuple)):
            if not key.isdigit() or int(key) >= len(node):
                yield f'{dotted_key}: {here} is a list of {len(node)}, {key!r} is no index of it'
                return
            node = node[int(key)]
        elif not isinstance(node, Mapping) and not isinstance(node, Config):
            if node is not None:
                yield f'{dotted_key}: {here} is {node!r} and has nothing below it'
            return
        elif key in node:
            node = node[key]
        else:
            if depth and not _is_new_argument(node, keys[depth - 1], key, scope):
                yield f'{dotted_key}: {here} has no {key!r}{suggest(key, map(str, node)) or _list_keys(node)}'
            return


def _no_setting(cfg: Config, key: str, dotted_key: str) -> Iterator[str]:
    if key not in cfg:
        yield f'{dotted_key}: no such setting{suggest(key, [*RUNNER_KEYS, *cfg])}'
        return
    places = sorted(_places_of(cfg, key))[:4]
    instead = f' Set {" and ".join(places)} instead.' if places else ''
    yield (
        f'{dotted_key}: {key} is a variable that was used while the file was read; '
        f'changing it now has no effect.{instead}'
    )


def _places_of(cfg: Config, key: str) -> Iterator[str]:
    for section in RUNNER_KEYS & set(cfg):
        yield from (f'{path}.{key}' for path, node in walk_typed(cfg[section], section) if key in node)


def _is_new_argument(node: Mapping, name: str, key: str, scope: str) -> bool:
    """Whether a key that a part of the config does not have may be added to it."""
    if 'type' in node:
        target = find_registered(node['type'], ALL_REGISTRIES, scope)
        accepted = accepted_arguments(target) if target is not None else None
        taken_out = set().union(*_TAKEN_OUT.values())
        return accepted is None or key in accepted or key in taken_out
    if suggest(key, map(str, node), cutoff=0.8):
        return False
    return name in _FREE_FORM or name.endswith('_dataloader')


def _list_keys(node: Mapping, limit: int = 12) -> str:
    return f'; it has {", ".join(map(str, list(node)[:limit]))}{", ..." if len(node) > limit else ""}'
