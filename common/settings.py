"""Settings: environment variables over `scaling-config.yml` over defaults, secrets by `*_FILE`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from common.errors import ConfigError, first_problem

Model = TypeVar("Model", bound=BaseModel)
Built = TypeVar("Built")

_MAX_CONFIG_BYTES = 1_000_000


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
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise ConfigError(str(path), path.stat().st_size, f"at most {_MAX_CONFIG_BYTES} bytes")
        content = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(str(path), error.strerror, "a readable file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), " ".join(str(error).split()), "well-formed YAML") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(str(path), content, "a mapping of sections at the top level")
    return content


def variables(
    model: type[BaseModel], environ: Mapping[str, str] | None = None
) -> tuple[dict[str, str], dict[str, str]]:
    """(values, names) of the fields of `model` that the environment sets.

    A field `redis_url` is set by `REDIS_URL`, or by `REDIS_URL_FILE`, which names a file that
    holds the value (one trailing newline is dropped). `names` maps field to variable, for errors.
    Raises ConfigError when both are set or the file cannot be read.
    """
    env = os.environ if environ is None else environ
    values: dict[str, str] = {}
    names: dict[str, str] = {}
    for field in model.model_fields:
        plain, by_file = field.upper(), f"{field.upper()}_FILE"
        if env.get(plain) and env.get(by_file):
            raise ConfigError(by_file, env[by_file], f"only one of {plain} and {by_file}")
        if env.get(by_file):
            values[field], names[field] = _read_secret(by_file, env[by_file]), by_file
        elif env.get(plain):
            values[field], names[field] = env[plain], plain
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
        if top in names:
            name = names[top] + (f".{rest}" if rest else "")
            secret = names[top].endswith("_FILE")
            raise ConfigError(name, "(content)" if secret else value, allowed) from None
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
        return Path(path).read_text("utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(name, path, f"a readable text file ({error})") from error
