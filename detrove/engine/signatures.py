"""Which class a `type` in a config stands for, and which arguments it takes."""

import ast
import difflib
import functools
import importlib.util
import inspect
import textwrap
from collections.abc import Iterable

from mmengine import registry as root_registries

ALL_REGISTRIES = tuple(
    name for name, value in vars(root_registries).items() if isinstance(value, root_registries.Registry)
)
_SCOPES = ('mmdet', 'mmseg', 'mmpretrain')


def find_registered(type_name, registry_names: Iterable[str], scope: str):
    """The class or function registered under a name, or None.

    Args:
        type_name: A name, `scope.Name`, or the class itself.
        registry_names: Where to look, e.g. `MODELS`.
        scope: Package whose registries are searched before mmengine's, e.g. `mmdet`.
    """
    if not isinstance(type_name, str):
        return type_name
    for registry in registries_of(tuple(registry_names), scope):
        found = registry.get(type_name)
        if found is not None:
            return found
    return None


def find_scope(name: str, registry_names: Iterable[str]) -> str | None:
    """The installed OpenMMLab package in whose registries a name without scope is found, or None."""
    for scope in _SCOPES:
        if importlib.util.find_spec(scope) is not None and find_registered(name, registry_names, scope) is not None:
            return scope
    return None


def registered_names(registry_names: Iterable[str], scope: str) -> list[str]:
    """Every name in these registries of a scope and in mmengine's."""
    names = set()
    for registry in registries_of(tuple(registry_names), scope):
        while registry is not None:
            names |= set(registry.module_dict)
            registry = registry.parent
    return sorted(names)


@functools.lru_cache
def registries_of(registry_names: tuple[str, ...], scope: str) -> tuple:
    """The registries of these names of a package, mmengine's where the package has none."""
    module = root_registries if scope == 'mmengine' else importlib.import_module(f'{scope}.registry')
    return tuple(getattr(module, name, getattr(root_registries, name, None)) for name in registry_names)


@functools.lru_cache
def accepted_arguments(target) -> frozenset[str] | None:
    """Names of the arguments that a class or function takes, or None where its source does not tell.

    `**kwargs` are followed up the inheritance as far as they are passed to `super().__init__` and used for
    nothing else.
    """
    if not inspect.isclass(target):
        names, catch_all = _named_parameters(target)
        return None if catch_all else names
    names = frozenset()
    for cls in target.__mro__[:-1]:
        if '__init__' not in vars(cls):
            continue
        try:
            own_names, catch_all = _named_parameters(cls.__init__)
        except (TypeError, ValueError):  # implemented in C
            return None
        names |= own_names - {'self'}
        if catch_all is None:
            return names
        if not _only_passed_on(cls, catch_all):
            return None
    return names


def _named_parameters(function) -> tuple[frozenset[str], str | None]:
    parameters = inspect.signature(function).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    catch_all = next((one.name for one in parameters if one.kind is inspect.Parameter.VAR_KEYWORD), None)
    return frozenset(one.name for one in parameters if one.kind in named), catch_all


def _only_passed_on(cls: type, catch_all: str) -> bool:
    """Whether `**kwargs` of the constructor go to that of the next class, and nowhere else."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls.__init__)))
    except (OSError, SyntaxError):
        return False
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == catch_all]
    passed_on = [
        keyword.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) in ('super().__init__', f'super({cls.__name__}, self).__init__')
        for keyword in call.keywords
        if keyword.arg is None
    ]
    return len(uses) == 1 and uses[0] in passed_on


def suggest(word: str, possibilities: Iterable[str], *, cutoff: float = 0.6) -> str:
    """`; did you mean 'x'?` for the nearest possibility, or nothing."""
    possibilities = list(possibilities)
    nearest = difflib.get_close_matches(word, possibilities, n=1, cutoff=cutoff)
    if not nearest:  # the same word in another case, or with another name around it
        nearest = [one for one in possibilities if one.lower() == word.lower()][:1]
    return f'; did you mean {nearest[0]!r}?' if nearest else ''
