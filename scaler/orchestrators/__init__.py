"""Where workers run: backends that start them and let them leave, and what the loop asks of each.

A backend is a module or package of this room that declares itself by a function `create()`, which
makes its orchestrator from the environment and raises ConfigError for what it can't use. The class
of its settings, where it has any, is its `SETTINGS`; its docstring and theirs are its page in the
docs. One to which a service is a fleet, whatever the target is called, says `FLEET_BY_SERVICE`; two
targets of the same service are refused there. `base` is what all of them implement, `pooled` spreads a target over several services of any
of them.

The room imports `policy` and `common`. A backend imports no other one, and it alone its client
library.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # A single part of a backend can be used without all that a target is.
    from scaler.orchestrators.base import Orchestrator


def backends() -> dict[str, ModuleType]:
    """The backends that there are, by the name that a target gives."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "create")}


def create(name: str) -> Orchestrator:
    """The backend of that name, configured from the environment; raises ConfigError."""
    backend: Orchestrator = backends()[name].create()
    return backend
