"""The line of a config file, or of one it inherits from, that sets a key."""

import ast
from collections.abc import Iterator
from pathlib import Path

from detrove.engine.config_file import find_config


def line_of(config: str | Path, key: str) -> str | None:
    """`FILE, line N` of what sets a dotted key, or the nearest part above it.

    Of the files, the one that goes deepest into the key is taken, and of those the one that inherits from the others.

    Args:
        config: Path of a config file.
        key: e.g. `train_dataloader.dataset.ann_file`; numbers are places in lists.

    Returns:
        None if no file sets the first part of the key.
    """
    keys = key.split('.')
    best, depth = None, 0
    for file in _with_bases(Path(config), set()):
        found, line = _deepest(file, keys)
        if found > depth:
            best, depth = f'{_short(file)}, line {line}', found
    return best


def _with_bases(file: Path, seen: set[Path]) -> Iterator[Path]:
    file = file.resolve()
    if file in seen or file.suffix != '.py':
        return
    seen.add(file)
    yield file
    for statement in _assignments(file):
        if statement.targets[0].id == '_base_':
            try:
                bases = ast.literal_eval(statement.value)
            except ValueError:
                return
            for base in [bases] if isinstance(bases, str) else bases:
                try:
                    path = find_config(base) if '::' in base else file.parent / base
                except FileNotFoundError:
                    continue
                yield from _with_bases(path, seen)


def _assignments(file: Path) -> list[ast.Assign]:
    try:
        body = ast.parse(file.read_text(encoding='utf-8')).body
    except (OSError, SyntaxError):
        return []
    return [node for node in body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]


def _deepest(file: Path, keys: list[str]) -> tuple[int, int]:
    """How many of the keys were found, and the line of the last of them."""
    best = (0, 0)
    for statement in _assignments(file):
        if statement.targets[0].id == keys[0]:
            best = max(best, _descend(statement.value, keys[1:], (1, statement.lineno)))
    return best


def _descend(node: ast.expr, keys: list[str], here: tuple[int, int]) -> tuple[int, int]:
    child = _child(node, keys[0]) if keys else None
    return here if child is None else _descend(child[0], keys[1:], (here[0] + 1, child[1]))


def _child(node: ast.expr, key: str) -> tuple[ast.expr, int] | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        return next(((one.value, one.value.lineno) for one in node.keywords if one.arg == key), None)
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return next(((value, value.lineno) for name, value in pairs
                     if isinstance(name, ast.Constant) and name.value == key), None)
    if isinstance(node, (ast.List, ast.Tuple)) and key.isdigit() and int(key) < len(node.elts):
        return node.elts[int(key)], node.elts[int(key)].lineno
    return None


def _short(file: Path) -> Path:
    folder = Path.cwd()
    return file.relative_to(folder) if file.is_relative_to(folder) else file
