"""The JSON schema of scaling-config.yml, with each setting's meaning, for editors and docs."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

from scaler.config.load import ProgramSection, ScalingSection, WorkerSection
from scaler.orchestrators import backends
from scaler.policy.target import Pool, Schedule, Target

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The schema of the whole file."""
    definitions: dict[str, Any] = {}
    parts = {
        "scaling": _of(ScalingSection, definitions),
        "worker": _of(WorkerSection, definitions),
        "target": _of(Target, definitions),
    }
    top = _of(ProgramSection, definitions)
    target = parts["target"]
    for properties in (top["properties"], target["properties"]):
        properties["orchestrator"]["enum"] = list(backends())
    return {
        "$schema": _DIALECT,
        "title": "scaling-config.yml",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            **top["properties"],
            "scaling": parts["scaling"],
            "worker": parts["worker"],
            "targets": {"type": "array", "minItems": 1, "items": target},
        },
        "$defs": definitions,
    }


def _of(model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    made = model.model_json_schema()
    definitions.update(made.pop("$defs", {}))
    for part in (Schedule, Pool):
        if part.__name__ in definitions:
            _describe(definitions[part.__name__], part)
    _describe(made, model)
    made["additionalProperties"] = model.model_config.get("extra") == "ignore"
    return made


def _describe(made: dict[str, Any], model: type[BaseModel]) -> None:
    for name, text in meanings(model).items():
        if name in made["properties"]:
            made["properties"][name]["description"] = text


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """What the docstrings under the fields of `model` and its bases say."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base in (BaseModel, object) or not issubclass(base, BaseModel):
            continue
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(base)))
        body = tree.body[0]
        if isinstance(body, ast.ClassDef):
            found.update(_field_docs(body))
    return found


def _field_docs(body: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, after in pairwise(body.body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            yield field.target.id, " ".join(str(after.value.value).split())
