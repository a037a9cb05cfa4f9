"""Errors that every program reports in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

_SHOWN = 80


class InvalidInputError(ValueError):
    """Input that cannot be used. Says which field, the value it had and what is allowed."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field = field
        self.value = value
        self.allowed = allowed
        super().__init__(f"{field}: {shorten(value)} is not allowed; allowed: {allowed}")


class ConfigError(InvalidInputError):
    """A setting from a file, a variable or a flag that cannot be used. Programs exit with 2."""


def shorten(value: object, limit: int = _SHOWN) -> str:
    """`repr(value)` cut to `limit` characters, so that no message grows with its input."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def first_problem(error: ValidationError, names: Sequence[str] = ()) -> tuple[str, object, str]:
    """(field, value, what is allowed) of the first problem that pydantic found.

    `names` prefix the field's path, e.g. `("targets", "video-creator")`.
    """
    problem = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in (*names, *problem["loc"])) or "(whole)"
    return path, _given(problem), _allowed(problem)


def _given(problem: Any) -> object:
    return "(missing)" if problem["type"] == "missing" else problem["input"]


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
