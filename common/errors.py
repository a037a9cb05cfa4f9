"""Errors that every program reports in the same words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError

_SHOWN = 80


class _Hidden:
    """Stands for a value that is not shown."""

    def __repr__(self) -> str:
        return "(not shown)"


HIDDEN = _Hidden()
"""In place of a value that is, or may have in it, a secret."""


class SecretInputError(ValueError):
    """What a validator raises of a value that must not be shown; says only what is allowed."""


class InvalidInputError(ValueError):
    """Input that cannot be used. Says which field, the value it had and what is allowed.

    What it says is one line, of bounded length whatever the value is, and without anything that a
    terminal would act on.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field = field
        self.value = value
        self.allowed = allowed
        name = cut(field, _SHOWN * 2)
        super().__init__(printable(f"{name}: {shorten(value)} is not allowed; allowed: {allowed}"))


class ConfigError(InvalidInputError):
    """A setting from a file, a variable or a flag that cannot be used. Programs exit with 2."""


def shorten(value: object, limit: int = _SHOWN) -> str:
    """`repr(value)` cut to `limit` characters, so that no message grows with its input.

    No more of a value is looked at than is shown: neither its depth nor its size can fail.
    """
    text = ""
    for piece in _pieces(value, limit):
        text += piece
        if len(text) > limit:
            break
    return cut(text, limit)


def cut(text: str, limit: int) -> str:
    """`text`, or as much of its beginning as fits into `limit` characters with a `…`."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def printable(text: str) -> str:
    """`text` with escapes in place of what no terminal or log should get: control characters,
    line breaks, marks of direction, halves of surrogate pairs."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def first_problem(error: ValidationError, names: Sequence[str] = ()) -> tuple[str, object, str]:
    """(field, value, what is allowed) of the first problem that pydantic found.

    `names` prefix the field's path, e.g. `("targets", "video-creator")`.
    """
    problem = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in (*names, *problem["loc"])) or "(whole)"
    return path, _given(problem), _allowed(problem)


def _pieces(value: object, limit: int) -> Iterator[str]:
    """What `repr(value)` consists of, one after the other; of long texts only the beginning."""
    if type(value) in (str, bytes):
        yield repr(value[: limit + 1])  # type: ignore[index] # one of the two
    elif type(value) is int and value.bit_length() > limit * 4:
        yield f"an integer of {value.bit_length()} bits"
    elif type(value) is dict:
        yield "{"
        for number, (key, each) in enumerate(value.items()):
            yield ", " if number else ""
            yield from _pieces(key, limit)
            yield ": "
            yield from _pieces(each, limit)
        yield "}"
    elif type(value) is list:
        yield "["
        yield from _listed(value, limit)
        yield "]"
    elif type(value) is tuple:
        yield "("
        yield from _listed(value, limit)
        yield ",)" if len(value) == 1 else ")"
    else:
        yield _of_its_own(value)


def _listed(values: Iterable[object], limit: int) -> Iterator[str]:
    for number, each in enumerate(values):
        yield ", " if number else ""
        yield from _pieces(each, limit)


def _of_its_own(value: object) -> str:
    """The `repr` of a type that is not ours to take apart."""
    try:
        return printable(repr(value))
    except Exception:  # it says what is wrong with a value: no value may make that fail
        return f"({type(value).__name__})"


def _given(problem: Any) -> object:
    """The value that is wrong, or HIDDEN. Of a field that we don't know nobody can say whether it
    is a secret, and among those that don't go together some may be."""
    kind, value = problem["type"], problem["input"]
    if kind == "missing":
        return "(missing)"
    secret = isinstance(problem.get("ctx", {}).get("error"), SecretInputError)
    unknown = kind == "extra_forbidden" and not isinstance(value, int | float)
    together = kind == "value_error" and not problem["loc"]
    return HIDDEN if secret or unknown or together else value


def _allowed(problem: Any) -> str:
    kind = problem["type"]
    if kind == "missing":
        return "a value; this field is required"
    if kind == "extra_forbidden":
        return "no field of this name"
    if kind == "value_error":
        return str(problem["ctx"]["error"])
    message = str(problem["msg"])
    return message.removeprefix("Input should be ").removeprefix("Value error, ")
