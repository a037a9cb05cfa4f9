"""The JSON schema of scaling-config.yml, with each setting's meaning, for editors and docs."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from scaler.config.load import ProgramSection, ScalingSection, WorkerSection
from scaler.orchestrators import backends
from scaler.policy.target import Target

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
    for part in (made, *definitions.values()):
        for field in part.get("properties", {}).values():
            if "description" in field:
                field["description"] = on_one_line(field.pop("description"))
    made["additionalProperties"] = model.model_config.get("extra") == "ignore"
    return made


def on_one_line(text: str | None) -> str:
    """The docstring under a field without its line breaks, "" where there is none."""
    return " ".join((text or "").split())
