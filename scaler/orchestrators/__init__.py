"""Where workers run: backends that start them and let them leave, and what the loop asks of each.

A backend is a module or package of this room that declares itself by a function `create`, which
makes its orchestrator and raises ConfigError for what it can't use. The class of its settings,
where it has any, is its `SETTINGS`, and `create` is given one of these, read here; its docstring
and theirs are its page in the docs. One to which a service is a fleet, whatever the target is
called, says `FLEET_BY_SERVICE`; two targets of the same service are refused there. `base` is what
all of them implement, `pooled` spreads a target over several services of any of them.

The room imports `policy` and `common`. A backend imports no other one, and it alone its client
library.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from common.settings import Settings, load

_NOTHING: Mapping[str, Any] = MappingProxyType({})

if TYPE_CHECKING:
    # A single part of a backend can be used without all that a target is.
    from scaler.orchestrators.base import Orchestrator


@cache
def backends() -> Mapping[str, ModuleType]:
    """The backends that there are, by the name that a target gives."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "create")}


def settings_of(
    name: str, worker: Mapping[str, Any] = _NOTHING, environ: Mapping[str, str] | None = None
) -> Settings | None:
    """What the backend of that name is told, None where it has no settings: the environment over
    what is set in `worker:` of the file. Raises ConfigError."""
    model: type[Settings] | None = getattr(backends()[name], "SETTINGS", None)
    if model is None:
        return None
    base = {field: value for field, value in worker.items() if field in model.model_fields}
    return load(model, environ=environ, base=base, base_name="worker")


def create(name: str, worker: Mapping[str, Any] = _NOTHING) -> Orchestrator:
    """The backend of that name with its settings, see `settings_of`; raises ConfigError."""
    settings = settings_of(name, worker)
    given = () if settings is None else (settings,)
    backend: Orchestrator = backends()[name].create(*given)
    return backend
