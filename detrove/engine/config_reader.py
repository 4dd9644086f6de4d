"""A config in Python read as data: assignments of what can be worked out without running any code of the file."""

import ast
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

#: How much one file may work out, so that a few lines cannot fill the memory.
MAX_STEPS, MAX_ITEMS, MAX_DIGITS, MAX_DEPTH = 500_000, 100_000, 300, 100

_BINARY = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
_UNARY = {ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_}
_COMPARED = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda item, whole: item in whole, ast.NotIn: lambda item, whole: item not in whole,
    ast.Is: operator.is_, ast.IsNot: operator.is_not,
}  # fmt: skip
_FUNCTIONS = {one.__name__: one for one in (dict, list, tuple, set, range, len, int, float, bool, round, min, max, sum)}


class NotData(ValueError):
    """Something in a config that would run code, or cost more than a config may."""


def read_assignments(text: str, file: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a config in Python.

    Known are constants, lists, tuples, sets, dicts, earlier variables and those of `given`, their keys and items,
    arithmetic, comparisons, `a if b else c`, comprehensions, f-strings without formats, and calls of `dict`, `list`,
    `tuple`, `set`, `range`, `len`, `int`, `float`, `bool`, `round`, `min`, `max` and `sum`.

    Args:
        text: of the file.
        file: its name, for messages.
        given: variables that are there from the beginning, and stay: `_base_`.

    Raises:
        NotData: with the file and the line of what is not known.
    """
    try:
        statements = ast.parse(text, str(file)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f', line {error.lineno}' if isinstance(error, SyntaxError) and error.lineno else ''
        raise NotData(f'config {file}{line}: {type(error).__name__}: {error}') from error
    reader = _Reader(dict(given), file)
    for statement in statements:
        reader.run(statement)
    return {name: value for name, value in reader.variables.items() if name not in given}


class _Reader:
    def __init__(self, variables: dict[str, Any], file: Path):
        self.given, self.variables, self.file, self.steps = frozenset(variables), variables, file, 0

    def run(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            return  # a docstring
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        elif isinstance(statement, ast.Assign):
            targets = statement.targets
        else:
            raise self.refused(statement, 'only assignments are data')
        try:
            value = self.value(statement.value)
            for target in targets:
                self.assign(target, value)
        except NotData:
            raise
        except Exception as error:  # what the operators and functions above raise; too deep nesting
            raise NotData(f'config {self.file}, line {statement.lineno}: {type(error).__name__}: {error}') from error

    def assign(self, target: ast.expr, value) -> None:
        self.weigh(value)
        if isinstance(target, ast.Name) and target.id in self.given:
            return
        if isinstance(target, ast.Name):
            self.variables[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            for part, item in zip(target.elts, self.bounded(value), strict=True):
                self.assign(part, item)
        elif isinstance(target, ast.Subscript):
            self.value(target.value)[self.value(target.slice)] = value
        elif isinstance(target, ast.Attribute):
            self.dict_of(target)[target.attr] = value
        else:
            raise self.refused(target, 'nothing is assigned to that in data')

    def value(self, node: ast.expr):
        self.count(1)
        read: Callable | None = getattr(self, f'read_{type(node).__name__.lower()}', None)
        if read is None:
            raise self.refused(node, 'this is code')
        return read(node)

    def read_constant(self, node: ast.Constant):
        return node.value

    def read_name(self, node: ast.Name):
        if node.id not in self.variables:
            raise self.refused(node, 'there is no such variable')
        return self.variables[node.id]

    def read_list(self, node: ast.List) -> list:
        return self.items(node)

    def read_tuple(self, node: ast.Tuple) -> tuple:
        return tuple(self.items(node))

    def read_set(self, node: ast.Set) -> Any:
        inner = node.elts[0]
        if len(node.elts) == 1 and isinstance(inner, ast.Set) and len(inner.elts) == 1:
            return self.value(inner.elts[0])  # {{_base_.name}}, mmengine's way to write _base_.name
        return set(self.weigh(self.items(node)))

    def items(self, node) -> list:
        found = []
        for item in node.elts:
            found += self.bounded(self.value(item.value)) if isinstance(item, ast.Starred) else [self.value(item)]
        return self.bounded(found)

    def read_dict(self, node: ast.Dict) -> dict:
        found = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                found.update(self.value(value))
            else:
                found[self.weigh(self.value(key))] = self.value(value)
        return found

    def read_attribute(self, node: ast.Attribute):
        return self.dict_of(node)[node.attr]

    def dict_of(self, node: ast.Attribute) -> dict:
        owner = self.value(node.value)
        if not isinstance(owner, dict):
            raise self.refused(node, 'only settings of a dict are read with a point')
        return owner

    def read_subscript(self, node: ast.Subscript):
        return self.value(node.value)[self.value(node.slice)]

    def read_slice(self, node: ast.Slice) -> slice:
        return slice(*(None if one is None else self.value(one) for one in (node.lower, node.upper, node.step)))

    def read_call(self, node: ast.Call):
        function = _FUNCTIONS.get(node.func.id) if isinstance(node.func, ast.Name) else None
        if function is None or node.func.id in self.variables:
            raise self.refused(node.func, 'such a call is code')
        values = []
        for argument in node.args:
            starred = isinstance(argument, ast.Starred)
            values += self.bounded(self.value(argument.value)) if starred else [self.value(argument)]
        named = {}
        for keyword in node.keywords:
            named.update(self.value(keyword.value) if keyword.arg is None else {keyword.arg: self.value(keyword.value)})
        if set(named) & {'key', 'default'} and function in (min, max):
            raise self.refused(node, 'such a call is code')
        if function is sum and not all(isinstance(one, int | float) for one in values[0]):
            raise self.refused(node, 'only numbers are summed')
        return self.bounded(function(*map(self.weigh, values), **named))

    def read_binop(self, node: ast.BinOp):
        left, right = self.value(node.left), self.value(node.right)
        apply = _BINARY.get(type(node.op))
        if apply is None or (isinstance(left, str | bytes) and isinstance(node.op, ast.Mod)):
            raise self.refused(node, 'this is code')
        repeated = isinstance(node.op, ast.Mult) and len(_sized(left) or _sized(right))
        if repeated and repeated * (left if isinstance(left, int) else right) > MAX_ITEMS:
            raise self.refused(node, 'it is too large')
        if isinstance(node.op, ast.Pow) and (abs(right) > MAX_DIGITS or abs(left) > 10**9):
            raise self.refused(node, 'it is too large')
        return self.bounded(apply(left, right))

    def read_unaryop(self, node: ast.UnaryOp):
        apply = _UNARY.get(type(node.op))
        if apply is None:
            raise self.refused(node, 'this is code')
        return apply(self.value(node.operand))

    def read_boolop(self, node: ast.BoolOp):
        stops = isinstance(node.op, ast.Or)
        for part in node.values:
            found = self.value(part)
            if bool(found) is stops:
                break
        return found

    def read_compare(self, node: ast.Compare) -> bool:
        left = self.value(node.left)
        for kind, part in zip(node.ops, node.comparators, strict=True):
            right = self.value(part)
            self.weigh([left, right])
            if not _COMPARED[type(kind)](left, right):
                return False
            left = right
        return True

    def read_ifexp(self, node: ast.IfExp):
        return self.value(node.body if self.value(node.test) else node.orelse)

    def read_joinedstr(self, node: ast.JoinedStr) -> str:
        return self.bounded(''.join(str(self.value(part)) for part in node.values))

    def read_formattedvalue(self, node: ast.FormattedValue) -> str:
        found = self.value(node.value)
        if node.format_spec is not None or node.conversion != -1 or not isinstance(found, str | int | float):
            raise self.refused(node.value, 'only text and numbers without a format go into text')
        return str(found)

    def read_listcomp(self, node: ast.ListComp) -> list:
        return [self.value(node.elt) for _ in self.rounds(node.generators)]

    def read_generatorexp(self, node: ast.GeneratorExp) -> list:
        return [self.value(node.elt) for _ in self.rounds(node.generators)]

    def read_dictcomp(self, node: ast.DictComp) -> dict:
        return {self.weigh(self.value(node.key)): self.value(node.value) for _ in self.rounds(node.generators)}

    def rounds(self, generators: list[ast.comprehension]):
        before = dict(self.variables)
        yield from self.nested_rounds(generators)
        self.variables = before

    def nested_rounds(self, generators: list[ast.comprehension]):
        if not generators:
            yield
            return
        for item in self.bounded(self.value(generators[0].iter)):
            self.assign(generators[0].target, item)
            if all(self.value(condition) for condition in generators[0].ifs):
                yield from self.nested_rounds(generators[1:])

    def bounded(self, value):
        """The value, unless it is too large."""
        if len(_sized(value)) > MAX_ITEMS or (isinstance(value, int) and value.bit_length() > 4 * MAX_DIGITS):
            raise NotData(f'config {self.file}: something in it has more than {MAX_ITEMS:,} items or {MAX_DIGITS} '
                          'digits')
        return value

    def weigh(self, value):
        """The value, with everything in it counted as a step: the same list can stand in another many times over."""
        rest = [(value, 0)]
        while rest:
            one, depth = rest.pop()
            self.count(1)
            if depth > MAX_DEPTH:
                raise NotData(f'config {self.file}: something in it is nested more than {MAX_DEPTH} deep')
            if isinstance(one, dict):
                rest += [(item, depth + 1) for pair in dict.items(one) for item in pair]
            elif isinstance(one, list | tuple | set):
                rest += [(item, depth + 1) for item in one]
        return value

    def count(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise NotData(f'config {self.file}: working it out takes more than {MAX_STEPS:,} steps')

    def refused(self, node: ast.AST, why: str) -> NotData:
        return NotData(f'config {self.file}, line {node.lineno}: `{ast.unparse(node)[:80]}`: {why}. --safe-config '
                       'reads configs as data; if you trust where this one comes from, leave the option out.')


def _sized(value):
    return value if isinstance(value, str | bytes | list | tuple | dict | set | range) else ()
