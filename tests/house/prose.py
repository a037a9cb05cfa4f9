"""Prose is for people: no code compares what stands in a sentence, a bound, an action or a state.

What code decides by is an enum or a structure; sentences are made of those in
`scaler/policy/explain.py`, and nothing reads them again. Found is any comparison (`==`, `in`,
`match`, `startswith`, a pattern, a look-up in a dictionary, …) of a string literal, or of a
constant that is one, where the other side is called by one of `WORDS`, or where the literal has
words with spaces between them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from tests.house.source import Finding, Source

WORDS = {
    "action", "applied", "bound", "explanation", "hold", "limit", "note", "obstacle", "order",
    "reason", "sentence", "state", "verdict", "why",
}  # fmt: skip
WRITES_SENTENCES = "scaler/policy/explain.py"

_DOCKERS = "the Docker API's own words, which nobody here may choose"
_PYDANTICS = "pydantic's own words, of which one line for a person is made"
ALLOWED: Mapping[tuple[str, str], str] = {
    ("common/errors.py", "Input should be "): _PYDANTICS,
    ("common/errors.py", "Value error, "): _PYDANTICS,
    ("docs/configuration_page.py", "-m worker run"): "a command line, not a sentence",
    ("scaler/external/access_log.py", "reason"): "numbers are left out to see what is said anew",
    ("scaler/orchestrators/swarm/engine.py", "state"): _DOCKERS,
    ("scaler/orchestrators/swarm/engine.py", "update out of sequence"): _DOCKERS,
    ("scaler/orchestrators/swarm/removal_order.py", "state"): _DOCKERS,
    ("scaler/orchestrators/swarm/service_view.py", "state"): _DOCKERS,
    ("scaler/web/app.py", "Input should be "): _PYDANTICS,
}
"""Comparisons that are right, by file and the literal or the word that is compared, and why."""

_COMPARED = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)
_SEARCHES = {
    "count", "endswith", "find", "index", "partition", "removeprefix", "removesuffix", "replace",
    "rfind", "rindex", "rpartition", "rsplit", "split", "startswith",
}  # fmt: skip
_PATTERNS = {"findall", "finditer", "fullmatch", "match", "search", "split", "sub"}
_CLEANS = {"casefold", "lower", "lstrip", "rstrip", "strip", "upper"}
_SENTENCE = re.compile(r"[A-Za-z][,.:;]? ")
_LETTER = re.compile(r"[A-Za-z]")

Constants = Mapping[str, ast.expr]


class Comparison(NamedTuple):
    """A comparison of prose."""

    line: int
    what: str
    """The word by which one side is called, or the literal."""


def check(sources: Sequence[Source]) -> Iterator[Finding]:
    """Every comparison of prose that has no reason in ALLOWED; and reasons without one."""
    constants = {source.module: _constants(source) for source in sources}
    used: set[tuple[str, str]] = set()
    for source in sources:
        if source.path == WRITES_SENTENCES:
            continue
        for line, what in sorted(set(comparisons(source, constants))):
            used.add((source.path, what))
            if (source.path, what) not in ALLOWED:
                message = (
                    f"compares prose ({what!r}): decide by an enum member or a field, or give the"
                    " reason in ALLOWED of tests/house/prose.py"
                )
                yield Finding(source.path, line, message)
    for path, what in ALLOWED.keys() - used:
        message = f"ALLOWED need not name {what!r} in {path} any longer: take it out"
        yield Finding("tests/house/prose.py", 1, message)


def _constants(source: Source) -> Constants:
    """What the constants of a module are, by name."""
    found: dict[str, ast.expr] = {}
    for node in source.tree.body:
        match node:
            case ast.Assign(targets=[target], value=value):
                pairs = _pairs(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                pairs = _pairs(target, value)
            case _:
                continue
        found |= {name: each for name, each in pairs if name.isupper()}
    return found


def _imported(source: Source, constants: Mapping[str, Constants]) -> Constants:
    """The constants of other modules that a module has, by what they are called there."""
    found: dict[str, ast.expr] = {}
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        for each in node.names:
            called, theirs = each.asname or each.name, constants.get(node.module or "", {})
            if each.name in theirs:
                found[called] = theirs[each.name]
            for name, value in constants.get(f"{node.module}.{each.name}", {}).items():
                found[f"{called}.{name}"] = value
    return found


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Each name of an assignment with what it is given."""
    match target, value:
        case ast.Name(id=name), _:
            yield name, value
        case ast.Tuple(elts=names), ast.Tuple(elts=values):
            for one, given in zip(names, values, strict=False):
                yield from _pairs(one, given)


def comparisons(source: Source, constants: Mapping[str, Constants]) -> Iterator[Comparison]:
    """The comparisons of prose in a module; `constants` are those of all, by module."""
    visible = {**_imported(source, constants), **constants.get(source.module, {})}
    return _Reader(visible).below(source.tree, {})


class _Reader:
    """Reads one syntax tree; `known` are the names that were given a word's value."""

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def below(self, node: ast.AST, known: Mapping[str, str]) -> Iterator[Comparison]:
        """The comparisons in a node and all below it."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            known = {**known, **_given(node)}
        for what in self._at(node, known):
            yield Comparison(getattr(node, "lineno", 1), what)
        for child in ast.iter_child_nodes(node):
            yield from self.below(child, known)

    def _at(self, node: ast.AST, known: Mapping[str, str]) -> Iterator[str]:
        match node:
            case ast.Compare(left=left, ops=ops, comparators=rest):
                for op, (one, other) in zip(ops, pairwise([left, *rest]), strict=True):
                    if isinstance(op, _COMPARED):
                        yield from self._pair(one, other, known)
            case ast.Match(subject=subject, cases=cases):
                for value in (v for case in cases for v in _values(case.pattern)):
                    yield from self._pair(subject, value, known)
            case ast.Subscript(value=value, slice=key):
                yield from self._look_up(value, key, known)
            case ast.Call(func=ast.Attribute(value=value, attr=name), args=args):
                yield from self._call(value, name, args, known)

    def _call(
        self, value: ast.expr, name: str, args: Sequence[ast.expr], known: Mapping[str, str]
    ) -> Iterator[str]:
        """A method's call."""
        if name == "get" and args:
            yield from self._look_up(value, args[0], known)
        if name in _SEARCHES:
            for each in args:
                yield from self._pair(value, each, known)
        if name in _PATTERNS:
            yield from filter(None, (_word(each, known) for each in args))

    def _pair(self, one: ast.expr, other: ast.expr, known: Mapping[str, str]) -> Iterator[str]:
        for side, against in ((one, other), (other, one)):
            yield from self._either(side, list(self._literals(against)), known)

    def _look_up(self, value: ast.expr, key: ast.expr, known: Mapping[str, str]) -> Iterator[str]:
        """A dictionary asked by a word, or anything asked by a sentence."""
        yield from filter(_SENTENCE.search, self._literals(key))
        yield from self._either(key, list(self._literals(value)), known)

    def _either(
        self, side: ast.expr, literals: Sequence[str], known: Mapping[str, str]
    ) -> Iterator[str]:
        """The word of a side that is compared with literals, or else those that are sentences."""
        word = _word(side, known)
        if word and any(map(_LETTER.search, literals)):
            yield word
        else:
            yield from filter(_SENTENCE.search, literals)

    def _literals(self, node: ast.expr) -> Iterator[str]:
        """The strings that a value may be, or has in it."""
        match node:
            case ast.Constant(value=str(text)):
                yield text
            case ast.JoinedStr(values=parts):
                yield "".join(text for part in parts for text in self._literals(part))
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
                for part in parts:
                    yield from self._literals(part)
            case ast.Dict(keys=keys):
                for key in filter(None, keys):
                    yield from self._literals(key)
            case ast.Call(func=ast.Name(id="frozenset" | "set" | "tuple"), args=[part]):
                yield from self._literals(part)
            case ast.Name() | ast.Attribute():
                constant = self._constants.get(ast.unparse(node))
                if constant is not None:
                    yield from self._literals(constant)


def _values(pattern: ast.pattern) -> Iterator[ast.expr]:
    for node in ast.walk(pattern):
        if isinstance(node, ast.MatchValue):
            yield node.value


def _given(function: ast.AST) -> dict[str, str]:
    """Names within a function that are given what a word names: `limit = decision.bound`."""
    found: dict[str, str] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for name, value in _pairs(node.targets[0], node.value):
                word = _word(value, {})
                if word:
                    found[name] = word
    return found


def _word(node: ast.expr, known: Mapping[str, str]) -> str | None:
    """The word of WORDS by which a value is called, if it is called by any."""
    match node:
        case ast.Name(id=name) if name in known:
            return known[name]
        case (
            ast.Name(id=name)
            | ast.Attribute(attr=name)
            | ast.Subscript(slice=ast.Constant(value=str(name)))
            | ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str(name)), *_])
        ):
            return _word_in(name)
        case (
            ast.Subscript(value=value, slice=ast.Slice())
            | ast.Call(func=ast.Name(id="str"), args=[value])
            | ast.BoolOp(values=[value, *_])
        ):
            return _word(value, known)
        case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in _CLEANS:
            return _word(value, known)
    return None


def _word_in(name: str) -> str | None:
    parts = (part.removesuffix("s") for part in name.lower().split("_"))
    return next((part for part in parts if part in WORDS), None)
