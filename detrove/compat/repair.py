"""Undoes what importing mmdet, mmseg or mmcv before detrove leaves behind where mmcv has no compiled ops.

Most of their modules take ops by ``try: from mmcv.ops import x / except ImportError:`` and so keep, for good,
a stand-in that raises when called; others fail, and leave packages half imported. After detrove's finder is
in place the same imports succeed; this pass repeats them.
"""

import ast
import sys
import warnings
from importlib import import_module
from types import ModuleType

from detrove_boot import MM_PACKAGES


def repair_earlier_imports() -> int:
    """Re-bind what mm modules imported before detrove failed to take from mmcv. Returns how many names."""
    loaded = _loaded_mm_modules()
    if 'mmengine.runner.checkpoint' in loaded:
        from .safe_load import after_import

        after_import(loaded['mmengine.runner.checkpoint'])
    _finish_mmpretrain(loaded)
    if 'mmcv.ops' in loaded:
        return 0
    replaced = {}
    repaired = sum(_repeat_guarded_imports(module, replaced) for module in loaded.values())
    for module in loaded.values():  # names handed on: `from .point_sample import point_sample`
        for name, value in tuple(vars(module).items()):
            if id(value) in replaced and replaced[id(value)][0] is value:
                setattr(module, name, replaced[id(value)][1])
                repaired += 1
    _report_heirs(old for old, _ in replaced.values())
    _import_missing_parents(loaded)
    return repaired


def _loaded_mm_modules() -> dict[str, ModuleType]:
    return {
        name: module
        for name, module in tuple(sys.modules.items())
        if isinstance(module, ModuleType) and name.partition('.')[0] in MM_PACKAGES
    }


def _repeat_guarded_imports(module: ModuleType, replaced: dict) -> int:
    repaired = 0
    for statement in _guarded_mmcv_imports(module):
        try:
            source = import_module(statement.module)
            values = [(alias.asname or alias.name, getattr(source, alias.name)) for alias in statement.names]
        except (ImportError, AttributeError):
            continue  # guarded for another reason than the missing ops: stays as its author meant it
        for name, new in values:
            old = vars(module).get(name)
            if old is new:
                continue
            if callable(old):
                replaced[id(old)] = (old, new)
            setattr(module, name, new)
            repaired += 1
    return repaired


def _guarded_mmcv_imports(module: ModuleType) -> list[ast.ImportFrom]:
    """The ``from mmcv... import`` statements that the module's source wraps in ``try`` at top level."""
    loader = getattr(module.__spec__, 'loader', None)
    get_source = getattr(loader, 'get_source', None)
    source = get_source(module.__name__) if get_source else None
    if not source or 'from mmcv' not in source or 'except' not in source:
        return []
    return [
        statement
        for block in ast.parse(source).body
        if isinstance(block, ast.Try)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        and not statement.level
        and (statement.module or '').partition('.')[0] == 'mmcv'
    ]


def _finish_mmpretrain(loaded: dict[str, ModuleType]) -> None:
    """Make mmpretrain.models importable again after its multimodal half stopped it half-way."""
    dependency = loaded.get('mmpretrain.utils.dependency')
    if dependency is None or 'mmpretrain.models' in loaded:
        return
    from .mmpretrain import check_multimodal

    check_multimodal(dependency)
    if not dependency.WITH_MULTIMODAL:
        for name in [name for name in loaded if name.startswith('mmpretrain.models.multimodal')]:
            del sys.modules[name], loaded[name]


def _import_missing_parents(loaded: dict[str, ModuleType]) -> None:
    """Import packages that failed after some of their modules had loaded, and bind those modules in them."""
    for name in sorted(loaded):
        parent, _, child = name.rpartition('.')
        if not parent or (parent in sys.modules and hasattr(sys.modules[parent], child)):
            continue
        try:
            package = import_module(parent)
        except Exception as error:  # the user's own next import shows the traceback
            warnings.warn(
                f'{parent} failed to import before detrove was imported and still does '
                f'({type(error).__name__}: {error}). Start Python anew with `import detrove` first.',
                stacklevel=4,
            )
            return
        if not hasattr(package, child):
            setattr(package, child, loaded[name])


def _report_heirs(stubs) -> None:
    heirs = sorted(
        f'{heir.__module__}.{heir.__qualname__}'
        for stub in stubs
        if isinstance(stub, type)
        for heir in stub.__subclasses__()
    )
    if heirs:
        warnings.warn(
            f'{", ".join(heirs)} inherited from ops of mmcv that were missing when they were imported and '
            'cannot be used. Put `import detrove` before the import of mmdet and mmseg.',
            stacklevel=2,
        )
