"""Settings: environment variables over `scaling-config.yml` over defaults.

A value may be in a file that `NAME_FILE` names; secrets may also be in the folder `SECRETS_DIR`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict

from common import strict_yaml
from common.errors import HIDDEN, ConfigError, Said, kind, unforeseen
from common.secret_files import (
    NOT_UNFIT,
    UNFIT,
    read_limited,
    read_secret,
    shown_path,
    trimmed,
)
from common.validation import NotTakenError, is_known, is_secret, learn, taken

Model = TypeVar("Model", bound=BaseModel)
Built = TypeVar("Built")

SECRETS_DIR = "SECRETS_DIR"
"""The variable that names a folder with a file for each secret, as Docker and Kubernetes make."""
_MAX_CONFIG_BYTES = 1_000_000
_CONTENT = Said("'(content)'")
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
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        learn(cls.model_fields)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, as `strict_yaml` reads it; an empty file is an empty mapping.

    Raises ConfigError when the file is unreadable, too large, no YAML, or no mapping.
    """
    name = _file_name(path)
    try:
        raw = read_limited(path, _MAX_CONFIG_BYTES)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or "no path"
        raise ConfigError(name, Said(said), "a readable file") from None
    if raw is None:
        raise ConfigError(name, Said("its size"), f"at most {_MAX_CONFIG_BYTES} bytes")
    try:
        content = strict_yaml.parse(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigError(name, Said("(no UTF-8)"), "well-formed YAML in UTF-8") from None
    except strict_yaml.YamlProblemError as error:
        key = f" ({error.key})" if error.key and is_known(error.key) else ""
        raise ConfigError(name, Said(f"{error}{key}"), error.allowed) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        shown = content if isinstance(content, list) else kind(content)
        raise ConfigError(name, shown, "a mapping of sections at the top level")
    return content


def section_of(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A section of a file; an empty one where there is none. Raises ConfigError."""
    section = content.get(name)
    if section is None:
        return {}
    if not isinstance(section, dict):
        # As text it may be a setting whose colon has no space behind it.
        shown = kind(section) if isinstance(section, str) else section
        raise ConfigError(name, shown, "a mapping of settings")
    return section


def variables(
    model: type[BaseModel], environ: Mapping[str, str] | None = None, prefix: str = ""
) -> tuple[dict[str, str], dict[str, str]]:
    """(values, names) of the fields of `model` that the environment sets, by names that begin
    with `prefix`.

    A field `redis_url` is set by `REDIS_URL`, or by `REDIS_URL_FILE`, which names a file that
    holds the value; a secret also by a file of its name in the folder `SECRETS_DIR`. White space
    around a secret, and around what is in a file, is dropped. `names` maps field to variable, for
    errors. Raises ConfigError when both are set, the file cannot be read, or the value has control
    characters.
    """
    env = os.environ if environ is None else environ
    folder = secrets_in(env)
    values: dict[str, str] = {}
    names: dict[str, str] = {}
    for field, about in model.model_fields.items():
        plain = f"{prefix}{field}".upper()
        by_file, in_folder = f"{plain}_FILE", folder.get(plain.lower())
        secret = is_secret(about.annotation)
        if env.get(plain) and env.get(by_file):
            shown = shown_path(env[by_file])
            raise ConfigError(by_file, shown, f"only one of {plain} and {by_file}")
        if env.get(by_file):
            values[field], names[field] = read_secret(by_file, env[by_file]), by_file
        elif env.get(plain):
            values[field], names[field] = _given(plain, env[plain], secret), plain
        elif secret and in_folder is not None:
            name = f"{SECRETS_DIR}/{in_folder.name}"
            values[field], names[field] = read_secret(name, in_folder), name
    return values, names


def _given(name: str, text: str, secret: bool) -> str:
    if secret:
        return trimmed(name, text)
    if UNFIT.search(text):
        # More than a line is no name or number: a certificate's key, say, in place of its file.
        shown = HIDDEN if "\n" in text.rstrip() else text
        raise ConfigError(name, shown, NOT_UNFIT)
    return text


def secrets_in(env: Mapping[str, str]) -> dict[str, Path]:
    """The files of the folder of secrets by the fields that they can set. `redis-url` is for the
    field `redis_url` too, as Kubernetes' names are rather written so. Raises ConfigError."""
    given = env.get(SECRETS_DIR)
    if not given:
        return {}
    try:
        paths = sorted(path for path in Path(given).iterdir() if path.is_file())
    except (OSError, ValueError) as error:
        allowed = f"a readable folder ({getattr(error, 'strerror', None) or 'no path'})"
        raise ConfigError(SECRETS_DIR, shown_path(given), allowed) from None
    found: dict[str, Path] = {}
    for path in paths:
        field = path.name.lower().replace("-", "_")
        if field in found:
            allowed = f"one of {found[field].name} and {path.name} in that folder"
            raise ConfigError(SECRETS_DIR, shown_path(given), allowed)
        found[field] = path
    return found


def load(
    model: type[Model],
    *,
    environ: Mapping[str, str] | None = None,
    base: Mapping[str, Any] | None = None,
    base_name: str = "",
    prefix: str = "",
) -> Model:
    """`model` from the environment over `base` (a section of a file, called `base_name`). The
    variables' names begin with `prefix`.

    Raises ConfigError naming the variable or `base_name.field`, the value and what is allowed.
    """
    values, names = variables(model, environ, prefix)
    section = _trimmed_secrets(model, base or {}, base_name)
    try:
        return taken(model, {**section, **values})
    except NotTakenError as error:
        problem = error
    top, rest = problem.top, problem.path[1:]
    if top in names:
        by_file = names[top] != f"{prefix}{top}".upper()
        shown = _CONTENT if by_file else problem.value
        raise ConfigError(".".join((names[top], *rest)), shown, problem.allowed)
    if base_name and top in section:
        raise ConfigError(".".join((base_name, *problem.path)), problem.value, problem.allowed)
    name = f"{prefix}{top}".upper() if problem.path else "(whole)"
    raise ConfigError(name, problem.value, problem.allowed)


def validated(model: type[Model], content: Mapping[str, Any], names: Sequence[str] = ()) -> Model:
    """`content` as `model`. Raises ConfigError, whatever `content` is, for a field whose path
    begins with `names`."""
    try:
        return taken(model, content)
    except NotTakenError as error:
        path = ".".join((*names, *error.path)) or "(whole)"
        raise ConfigError(path, error.value, error.allowed) from None


def or_exit(build: Callable[[], Built]) -> Built:
    """`build()`; on ConfigError one line on stderr and exit code 2, on what nobody foresaw one
    line and 1."""
    try:
        return build()
    except ConfigError as error:
        sys.stderr.write(f"invalid configuration: {error}\n")
        raise SystemExit(2) from None
    except Exception as error:
        sys.stderr.write(f"internal error: {unforeseen(error)}\n")
        raise SystemExit(1) from None


def _trimmed_secrets(
    model: type[BaseModel], section: Mapping[str, Any], section_name: str
) -> dict[str, Any]:
    """`section` with its secrets trimmed and checked as those of variables are."""
    done = dict(section)
    for field, about in model.model_fields.items():
        if isinstance(done.get(field), str) and is_secret(about.annotation):
            name = f"{section_name}.{field}" if section_name else field.upper()
            done[field] = trimmed(name, done[field])
    return done


def _file_name(path: Path) -> str:
    """A configuration file's path; not what may be its content, given in place of it."""
    try:
        sound = path.exists() or (path.suffix in (".yml", ".yaml") and path.parent.is_dir())
    except (OSError, ValueError):
        sound = False
    return str(path) if sound else "the configuration file"
