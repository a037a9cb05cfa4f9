"""Errors that every program reports in the same words, and without what nobody is to see."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

_SHOWN = 80


_LOOKED_AT = 100
_NO_SECRET = 10_000
_SECRETIVE = re.compile(r"token|passw|secret|auth|key|credential", re.IGNORECASE)
"""In a name: what it names is not to be seen. In a value: nor is what stands beside it."""
_PLACE = re.compile(r"([a-z0-9+]+://)?[\w.-]*(:[0-9]{0,5})?/?")
"""Of a URL, that in which nothing can be a password."""
_PATH = re.compile(r"\.{0,2}(/[\w.+-]+)+/?")


class Said:
    """Stands in an error for a value, and says of it what may be said."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


HIDDEN = Said("(not shown)")
"""In place of a value that is, or may have in it, a secret."""
MISSING = Said("'(missing)'")
"""In place of a value that is not there."""


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
    """A setting from a file, a variable or a flag that cannot be used. Programs exit with 2.

    `value` is what may be shown of the value that was given, see `shown`.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        hidden = names_secret(field) and not isinstance(value, Said)
        super().__init__(field, HIDDEN if hidden else shown(value), allowed)


def names_secret(name: str) -> bool:
    """Whether what has this name is not to be seen, going by the name alone.

    The path of the file that it is in, and the name of the target, say nothing.
    """
    field = re.sub(r"^targets\.[^.]*", "", name[name.rfind(": ") + 1 :].strip())
    return "/" not in field and bool(_SECRETIVE.search(field))


def shown(value: object) -> object:
    """`value` where nothing in it can be a secret; otherwise what kind of value it is, or HIDDEN.

    Numbers may be shown, and text that has no place for a secret. What is neither may be the
    secret with its name.
    """
    if value is None or isinstance(value, (bool, int, float, Said)):
        return value
    if isinstance(value, (str, Path)):
        return value if is_harmless(str(value)) else HIDDEN
    if isinstance(value, (list, tuple, dict)) and _all_small(value):
        return value
    return kind(value)


def is_harmless(text: str) -> bool:
    """Whether neither a word of `text` names a secret nor a URL in it may have one; a path's
    words say nothing."""
    if "://" in text or "@" in text:
        return bool(_PLACE.fullmatch(text)) and not _SECRETIVE.search(text)
    return bool(_PATH.fullmatch(text)) or not _SECRETIVE.search(text)


def kind(value: object) -> Said:
    """What kind of value it is, in the terms of a file's reader."""
    for types, name in _KINDS:
        if isinstance(value, types):
            return Said(name)
    return Said("(something else)")


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((list, tuple), "(a list)"),
    (dict, "(a mapping)"),
    ((str, Path), "(text)"),
    ((bool, int, float), "(a number)"),
    (type(None), "(nothing)"),
)


def is_small(value: object) -> bool:
    """Whether it is a number that is too short for a secret."""
    return isinstance(value, (bool, int, float)) and -_NO_SECRET < value < _NO_SECRET


def _all_small(values: Iterable[object]) -> bool:
    """Whether there are only small numbers in a list, of which no more is looked at than would be
    shown; of a mapping the keys are looked at."""
    return all(map(is_small, islice(values, _LOOKED_AT)))


def unforeseen(error: BaseException) -> str:
    """What is told of an exception that nobody foresaw: which, and where. What it says itself may
    have a secret in it."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = " > ".join(f"{Path(each.filename).name}:{each.lineno}" for each in frames)
    return f"{type(error).__name__} at {places}"


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
    return path, _given(problem), allowed_of(problem)


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
    what, value = problem["type"], problem["input"]
    if what == "missing":
        return MISSING
    secret = isinstance(problem.get("ctx", {}).get("error"), SecretInputError)
    unknown = what == "extra_forbidden"
    together = what == "value_error" and not problem["loc"]
    return HIDDEN if secret or unknown or together else value


def allowed_of(problem: Any) -> str:
    """What is allowed in place of what pydantic found to be a problem."""
    what = problem["type"]
    if what == "missing":
        return "a value; this field is required"
    if what == "extra_forbidden":
        return "no field of this name"
    if what == "value_error":
        return str(problem["ctx"]["error"])
    message = str(problem["msg"])
    return message.removeprefix("Input should be ").removeprefix("Value error, ")
