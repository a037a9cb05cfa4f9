"""What is in force, and where each value came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr

from common.http import HttpSettings
from common.settings import load, read_yaml, variables
from common.urls import without_credentials
from scaler.config.load import ProgramSection, ScalerConfig, ScalingSection, scaling_variables
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


def in_force(
    config: ScalerConfig, path: Path | None, environ: Mapping[str, str]
) -> Iterator[InForce]:
    """Every setting of `config`, which was read from `path` and `environ`."""
    content = read_yaml(path) if path else {}
    scaling_env = scaling_variables(environ)
    sections: tuple[tuple[str, BaseModel, Mapping[str, Any], Mapping[str, str]], ...] = (
        ("", config.program, content, environ),
        ("", load(HttpSettings, environ=environ, base={"http_port": 8080}), {}, environ),
        ("", load(WebSettings, environ=environ), {}, environ),
        ("scaling.", config.scaling, content.get("scaling") or {}, scaling_env),
        ("worker.", config.worker, content.get("worker") or {}, environ),
    )
    for prefix, model, given, env in sections:
        yield from _of_section(prefix, model, given, env)
    entries = content.get("targets") or [{}]
    for target, entry in zip(config.targets, entries, strict=True):
        yield from _of_target(target, entry, content, environ)


def _of_section(
    prefix: str, model: BaseModel, given: Mapping[str, Any], env: Mapping[str, str]
) -> Iterator[InForce]:
    _, names = variables(type(model), env)
    for field in type(model).model_fields:
        origin = names.get(field, FILE if field in given else DEFAULT)
        yield InForce(prefix + field, _shown(getattr(model, field)), origin)


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
