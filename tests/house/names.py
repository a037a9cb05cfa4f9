"""One name for one thing: no class and no module twice in the first-party code, none too long."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple, TypeVar

from tests.house.source import Finding, Source

Named = TypeVar("Named")

MOST_LINES = 450
CONVENTIONS = {"__init__", "__main__", "settings", "metrics", "errors", "cli"}
"""Base names that say what kind of module it is, the same in each room."""

SAME_CLASS: Mapping[str, str] = {}
"""Classes that may share their name with another, by name, and why."""
SAME_MODULE: Mapping[str, str] = {}
"""Modules that may share their base name with another, by base name, and why."""


class Class(NamedTuple):
    """A class where it is defined."""

    path: str
    node: ast.ClassDef

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.path}:{self.node.lineno}"

    @property
    def bases(self) -> set[str]:
        """The names that it is derived from."""
        bases = (
            base.value if isinstance(base, ast.Subscript) else base for base in self.node.bases
        )
        return {ast.unparse(base).rpartition(".")[2] for base in bases}

    @property
    def members(self) -> set[str]:
        """What others can use of it: methods, fields, and what its methods set on `self`."""
        names: set[str] = set()
        for inner in ast.walk(self.node):
            match inner:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    names.add(name)
                case ast.AnnAssign(target=ast.Name(id=name)):
                    names.add(name)
                case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                    names.add(name)
        return {name for name in names if not name.startswith("_") or name.endswith("__")}


def check(sources: Sequence[Source]) -> Iterator[Finding]:
    """Class and module names that stand for two things."""
    yield from _classes(sources)
    yield from _modules(sources)


def too_long(sources: Iterable[Source]) -> Iterator[Finding]:
    """Modules that are too long to be read in one go."""
    for source in sources:
        lines = source.text.count("\n")
        if lines > MOST_LINES:
            message = f"{lines} lines, {MOST_LINES} at most: split it by what its parts do"
            yield Finding(source.path, lines, message)


def _classes(sources: Sequence[Source]) -> Iterator[Finding]:
    named: defaultdict[str, list[Class]] = defaultdict(list)
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef):
                named[node.name].append(Class(source.path, node))
    yield from _unused("SAME_CLASS", SAME_CLASS, named)
    for name in sorted(named.keys() - SAME_CLASS.keys()):
        for one, other in combinations(named[name], 2):
            if not (_implements(one, other) or _implements(other, one)):
                message = (
                    f"class {name} is also at {one.place}: rename the one that the word fits less,"
                    " or give the reason in SAME_CLASS of tests/house/names.py"
                )
                yield Finding(other.path, other.node.lineno, message)


def _implements(one: Class, protocol: Class) -> bool:
    """Whether `one` is what the protocol of the same name asks for: derived, or in structure."""
    if "Protocol" not in protocol.bases or "Protocol" in one.bases:
        return False
    return protocol.node.name in one.bases or protocol.members <= one.members


def _modules(sources: Sequence[Source]) -> Iterator[Finding]:
    named: defaultdict[str, list[str]] = defaultdict(list)
    for source in sources:
        if source.stem not in CONVENTIONS:
            named[source.stem].append(source.path)
    yield from _unused("SAME_MODULE", SAME_MODULE, named)
    for name in sorted(named.keys() - SAME_MODULE.keys()):
        first, *others = named[name]
        for path in others:
            message = (
                f"{first} has the same base name: rename the one that the word fits less, or give"
                " the reason in SAME_MODULE of tests/house/names.py"
            )
            yield Finding(path, 1, message)


def _unused(
    what: str, exceptions: Mapping[str, str], named: Mapping[str, Sequence[Named]]
) -> Iterator[Finding]:
    """Exceptions that are none any longer."""
    for name in exceptions:
        if len(named.get(name, ())) < 2:
            message = f"{what} need not name {name} any longer: take it out"
            yield Finding("tests/house/names.py", 1, message)
