"""What is in force, and where each value came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr

from common.errors import ConfigError
from common.http import HttpSettings
from common.outgoing import ClientPolicy, OutgoingSettings, RouteSettings
from common.settings import load, read_yaml, variables
from common.urls import without_credentials
from scaler.config.load import ProgramSection, ScalerConfig, ScalingSection, scaling_variables
from scaler.external.pod_deletion_cost import PodDeletionCostSettings
from scaler.external.settings import ExternalScalerSettings
from scaler.orchestrators import settings_of
from scaler.policy.target import KNOBS, Target
from scaler.web.settings import WebSettings

DEFAULT = "default"
FILE = "file"


class InForce(NamedTuple):
    """One setting."""

    name: str
    value: str
    origin: str
    """`default`, `file`, or the variable's name."""


class _Origins(NamedTuple):
    """Some of the settings that a scaler runs with."""

    prefix: str
    settings: Callable[[], BaseModel | None]
    given: Mapping[str, Any] = {}
    """What the file says of them."""
    variables: str = ""
    """What the names of their variables begin with."""


def in_force(
    config: ScalerConfig, path: Path | None, environ: Mapping[str, str]
) -> Iterator[InForce | ConfigError]:
    """Every setting of `config`, which was read from `path` and `environ`, and of whatever runs
    with it; or what is wrong with a part of these."""
    content = read_yaml(path) if path else {}
    scaling, worker = content.get("scaling") or {}, content.get("worker") or {}
    yield from _of_part(_Origins("", lambda: config.program, content), environ)
    yield from of_environment(config, environ)
    for name in sorted({target.orchestrator for target in config.targets}):
        yield from _of_part(_backend(name, config, worker, environ), environ)
    if environ.get("GATEWAY_URL") or environ.get("GATEWAY_URL_FILE"):
        yield from _of_part(_towards("GATEWAY", RouteSettings, environ), environ)
    scaling_env = scaling_variables(environ)
    yield from _of_part(_Origins("scaling.", lambda: config.scaling, scaling), scaling_env)
    yield from _of_part(_Origins("worker.", lambda: config.worker, worker), environ)
    entries = content.get("targets") or [{}]
    for target, entry in zip(config.targets, entries, strict=True):
        yield from _of_target(target, entry, content, environ)


def of_environment(
    config: ScalerConfig | None, environ: Mapping[str, str]
) -> Iterator[InForce | ConfigError]:
    """The same of what only the environment sets; `config` is None where that can't be used."""
    port = {"grpc_port": config.program.grpc_port} if config else {}
    parts: Iterable[_Origins] = (
        _Origins("", lambda: load(HttpSettings, environ=environ, base={"http_port": 8080})),
        _Origins("", lambda: load(WebSettings, environ=environ)),
        _Origins("", lambda: load(ExternalScalerSettings, environ=environ, base=port)),
        _Origins("", lambda: load(PodDeletionCostSettings, environ=environ)),
        _towards("PROMETHEUS", OutgoingSettings, environ),
    )
    for part in parts:
        for each in _of_part(part, environ):
            # It is the file's, and has been told.
            if not (isinstance(each, InForce) and each.name in ProgramSection.model_fields):
                yield each


def of_required(
    model: type[BaseModel],
    make: Callable[[Mapping[str, str]], BaseModel],
    environ: Mapping[str, str],
    stand_in: Mapping[str, str],
) -> Iterator[InForce | ConfigError]:
    """The same of settings that have to be given, which `make` makes and checks. What is not
    given is told as missing and is no reason to refuse the rest, as a file is also looked at where
    its secrets are not; `stand_in` has a value for each of these variables."""
    _, names = variables(model, environ)
    missing = {name: value for name, value in stand_in.items() if name.lower() not in names}
    given = {**environ, **missing}
    for each in _of_part(_Origins("", lambda: make(given)), given):
        if isinstance(each, InForce) and each.origin in missing:
            yield InForce(each.name, "(missing)", f"run needs {each.origin}")
        else:
            yield each


def _backend(
    name: str, config: ScalerConfig, worker: Mapping[str, Any], environ: Mapping[str, str]
) -> _Origins:
    return _Origins(f"{name}.", lambda: settings_of(name, config.worker.given, environ), worker)


def _towards(service: str, model: type[RouteSettings], environ: Mapping[str, str]) -> _Origins:
    def settings() -> RouteSettings:
        ClientPolicy(service, environ, model)  # also looks into the files
        return load(model, environ=environ, prefix=start)

    start = f"{service}_"
    return _Origins(start.lower(), settings, variables=start)


def _of_part(part: _Origins, env: Mapping[str, str]) -> Iterator[InForce | ConfigError]:
    try:
        settings = part.settings()
        if settings is None:
            return
        _, names = variables(type(settings), env, part.variables)
    except ConfigError as error:
        yield error
        return
    for field in type(settings).model_fields:
        origin = names.get(field, FILE if field in part.given else DEFAULT)
        yield InForce(part.prefix + field, _shown(getattr(settings, field)), origin)


def _of_target(
    target: Target, entry: Mapping[str, Any], content: Mapping[str, Any], env: Mapping[str, str]
) -> Iterator[InForce]:
    scaling = content.get("scaling") or {}
    _, names = variables(ScalingSection, scaling_variables(env))
    _, program_names = variables(ProgramSection, env)
    for field in Target.model_fields:
        if field in entry:
            origin = FILE
        elif field == "orchestrator":
            origin = program_names.get(field, FILE if field in content else DEFAULT)
        elif field in KNOBS:
            origin = names.get(field, f"{FILE}: scaling" if field in scaling else DEFAULT)
        else:
            origin = DEFAULT
        yield InForce(f"targets.{target.name}.{field}", _shown(getattr(target, field)), origin)


def _shown(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, SecretStr):
        return "(set)"
    if isinstance(value, tuple):
        return ", ".join(str(getattr(each, "name", each)) for each in value) or "–"
    text = str(value)
    return without_credentials(text) if "://" in text else text
