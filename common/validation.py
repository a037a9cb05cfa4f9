"""Content made into settings; and what may be told of content that can't be.

Whether a value may be shown goes by the type of its field: nothing of a secret, nothing of a field
that is not known, as it may be a secret in a wrong place, nothing of several fields together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from common.errors import (
    HIDDEN,
    MISSING,
    SecretInputError,
    allowed_of,
    is_small,
    kind,
    names_secret,
    unforeseen,
)

Model = TypeVar("Model", bound=BaseModel)

_UNKNOWN = ("extra_forbidden", "invalid_key")
# Where these are wanted, text may be a setting whose colon has no space behind it.
_WANTS_SEVERAL = (
    "dict_type", "list_type", "mapping_type", "model_attributes_type", "model_type", "tuple_type",
)  # fmt: skip
_SHORT = 3
_NAME = re.compile(r"[A-Za-z][a-z]{0,14}(_[a-z]{1,15}){0,5}")
_words = {"scaling", "worker", "targets", "thresholds", "slo"}


class NotTakenError(ValueError):
    """The first thing that is wrong with some content, as far as it may be told."""

    def __init__(self, top: str, path: tuple[str, ...], value: object, allowed: str) -> None:
        super().__init__(allowed)
        self.top = top
        """The outermost field, as it was given."""
        self.path = path
        self.value = value
        self.allowed = allowed


def taken(model: type[Model], content: Mapping[str, Any]) -> Model:
    """`content` as `model`. Raises NotTakenError, whatever `content` is."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _told(model, error.errors(include_url=False)[0]) from None
    except Exception as error:  # of a validator that did not foresee such a value
        allowed = f"what can be read ({unforeseen(error)})"
        raise NotTakenError("", (), HIDDEN, allowed) from None


def is_secret(annotation: Any) -> bool:
    """Whether a field of this type holds a secret."""
    return SecretStr in _leaves(annotation)


def learn(names: Iterable[str]) -> None:
    """These are names of settings."""
    for name in names:
        _words.update(name.split("_"))


def is_known(name: str) -> bool:
    """Whether `name` looks as a setting's does, or has the words of one in another case.

    Only then is it shown where it is not a setting's: it may be a secret in a wrong place.
    """
    if _NAME.fullmatch(name):
        return True
    words = name.lower().replace("-", "_").split("_")
    return all(word and get_close_matches(word, _words, 1, 0.8) for word in words)


def _told(model: type[BaseModel], problem: Any) -> NotTakenError:
    path, fields = _walk(model, problem["loc"])
    top = str(problem["loc"][0]) if path else ""
    value, what, allowed = problem["input"], problem["type"], allowed_of(problem)
    if what == "missing":
        value = MISSING
    elif _may_be_secret(problem, path, fields):
        if isinstance(value, str) and len(value) > _SHORT and value in allowed:
            allowed = "another value"  # a library's sentence, which quotes what it is about
        value = HIDDEN
    elif what in _WANTS_SEVERAL and isinstance(value, str):
        value = kind(value)
    return NotTakenError(top, path, value, allowed)


def _may_be_secret(problem: Any, path: Sequence[str], fields: Iterable[FieldInfo]) -> bool:
    unknown = problem["type"] in _UNKNOWN and not is_small(problem["input"])
    by_type = any(is_secret(each.annotation) for each in fields)
    by_validator = isinstance(problem.get("ctx", {}).get("error"), SecretInputError)
    together = problem["type"] == "value_error" and not path
    return unknown or by_type or by_validator or together or names_secret(".".join(path))


def _walk(
    model: type[BaseModel], loc: Sequence[int | str]
) -> tuple[tuple[str, ...], list[FieldInfo]]:
    """The path to a problem, to be shown, and the fields on it."""
    models: list[type[BaseModel]] = [model]
    path: list[str] = []
    fields: list[FieldInfo] = []
    for part in loc:
        known = {name: info for each in models for name, info in each.model_fields.items()}
        if isinstance(part, str) and part in known:
            fields.append(known[part])
            models = [leaf for leaf in _leaves(known[part].annotation) if _is_model(leaf)]
        hidden = isinstance(part, str) and part not in known and not is_known(part)
        path.append(repr(HIDDEN) if hidden else str(part))
    return tuple(path), fields


def _is_model(leaf: Any) -> bool:
    return isinstance(leaf, type) and issubclass(leaf, BaseModel)


def _leaves(annotation: Any) -> Iterator[Any]:
    """The types that `annotation` is made of."""
    parts = get_args(annotation)
    if not parts:
        yield annotation
    for part in parts:
        yield from _leaves(part)
