"""Settings: environment variables over `scaling-config.yml` over defaults, secrets by `*_FILE`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr, ValidationError

from common.errors import HIDDEN, ConfigError, first_problem

Model = TypeVar("Model", bound=BaseModel)
Built = TypeVar("Built")

_MAX_CONFIG_BYTES = 1_000_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_QUOTED = re.compile(r"'.*'|\".*\"", re.DOTALL)
MAX_NAME_BYTES = 255
"""The most that RabbitMQ takes as a name."""
MAX_QUEUE_BYTES = MAX_NAME_BYTES - len(".retry.86400")
"""The most for a queue with others named after it; this is the longest of their endings."""


def plain_name(value: str) -> str:
    """`value`, if it can be a name anywhere. Raises ValueError."""
    if not value.isprintable() or len(value.encode()) > MAX_NAME_BYTES:
        raise ValueError(f"printable characters, at most {MAX_NAME_BYTES} bytes in UTF-8")
    return value


def queue_name(value: str) -> str:
    """`value`, if a queue of ours can be called so, and those named after it too. Raises
    ValueError."""
    sound = value.isprintable() and value == value.strip() and not value.startswith("amq.")
    if not (sound and 0 < len(value.encode()) <= MAX_QUEUE_BYTES):
        raise ValueError(
            f"a queue's name of 1 to {MAX_QUEUE_BYTES} bytes in UTF-8, so that there is room for "
            "endings like .retry.3600; printable, no space around it, not beginning with amq."
        )
    return value


PlainName = Annotated[str, AfterValidator(plain_name)]
QueueName = Annotated[str, AfterValidator(queue_name)]


class Settings(BaseModel):
    """Base of every program's settings: frozen, unknown names refused.

    The docstring under a field is its description: in the documentation, schema and help.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping.

    Raises ConfigError when the file is unreadable, too large, no YAML, or no mapping.
    """
    try:
        size = path.stat().st_size
        raw = path.read_bytes() if size <= _MAX_CONFIG_BYTES else b""
    except OSError as error:
        raise ConfigError(str(path), error.strerror, "a readable file") from error
    if size > _MAX_CONFIG_BYTES:
        raise ConfigError(str(path), size, f"at most {_MAX_CONFIG_BYTES} bytes")
    try:
        content = yaml.safe_load(raw.decode("utf-8-sig"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(str(path), _place(error), "well-formed YAML") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        shown = HIDDEN if "://" in str(content) else content
        raise ConfigError(str(path), shown, "a mapping of sections at the top level")
    return content


def variables(
    model: type[BaseModel], environ: Mapping[str, str] | None = None
) -> tuple[dict[str, str], dict[str, str]]:
    """(values, names) of the fields of `model` that the environment sets.

    A field `redis_url` is set by `REDIS_URL`, or by `REDIS_URL_FILE`, which names a file that
    holds the value (the end of its last line is dropped). `names` maps field to variable, for
    errors. Raises ConfigError when both are set, the file cannot be read, or the value has control
    characters.
    """
    env = os.environ if environ is None else environ
    values: dict[str, str] = {}
    names: dict[str, str] = {}
    for field, about in model.model_fields.items():
        plain, by_file = field.upper(), f"{field.upper()}_FILE"
        if env.get(plain) and env.get(by_file):
            raise ConfigError(by_file, _path(env[by_file]), f"only one of {plain} and {by_file}")
        if env.get(by_file):
            values[field], names[field] = _read_secret(by_file, env[by_file]), by_file
        elif env.get(plain):
            values[field], names[field] = env[plain], plain
        if _CONTROL.search(values.get(field, "")):
            # At its end it is what an --env-file with line ends of Windows leaves.
            secret = names[field] == by_file or _is_secret(about.annotation)
            shown = HIDDEN if secret or "://" in values[field] else values[field]
            allowed = "no control characters, such as a line end (\\r, \\n)"
            raise ConfigError(names[field], shown, allowed)
    return values, names


def load(
    model: type[Model],
    *,
    environ: Mapping[str, str] | None = None,
    base: Mapping[str, Any] | None = None,
    base_name: str = "",
) -> Model:
    """`model` from the environment over `base` (a section of a file, called `base_name`).

    Raises ConfigError naming the variable or `base_name.field`, the value and what is allowed.
    """
    values, names = variables(model, environ)
    try:
        return model.model_validate({**(base or {}), **values})
    except ValidationError as error:
        field, value, allowed = first_problem(error)
        top, _, rest = field.partition(".")
        if top in model.model_fields and _is_secret(model.model_fields[top].annotation):
            value = value if value == "(missing)" else HIDDEN
        if top in names:
            name = names[top] + (f".{rest}" if rest else "")
            by_file = names[top].endswith("_FILE")
            raise ConfigError(name, "(content)" if by_file else value, allowed) from None
        prefix = f"{base_name}." if base_name and top in (base or {}) else ""
        name = prefix + field if prefix else top.upper()
        raise ConfigError(name, value, allowed) from None


def or_exit(build: Callable[[], Built]) -> Built:
    """`build()`; on ConfigError one line on stderr and exit code 2."""
    try:
        return build()
    except ConfigError as error:
        sys.stderr.write(f"invalid configuration: {error}\n")
        raise SystemExit(2) from None


def _read_secret(name: str, path: str) -> str:
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        allowed = f"the path of a readable file ({error.strerror})"
        raise ConfigError(name, _path(path), allowed) from None
    except UnicodeDecodeError:
        raise ConfigError(name, _path(path), "the path of a text file in UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")


def _path(given: str) -> object:
    """A path, to be shown; unless it is the secret itself, where its file was to be named."""
    return given if given.startswith(("/", ".")) else HIDDEN


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_is_secret(part) for part in get_args(annotation))


def _place(error: Exception) -> str:
    """What is wrong and where, without the text there: it may be a secret."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return type(error).__name__
    problem = _QUOTED.sub("…", str(getattr(error, "problem", None) or "unreadable"))
    return f"{problem}, line {mark.line + 1}, column {mark.column + 1}"
