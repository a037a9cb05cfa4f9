"""Backends that run workers. Each is one module, found by its name and imported when configured.

Such a module has a class derived from `base.Orchestrator` and a function `create()` that makes
one from the environment, raising ConfigError for what it can't use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # A single part of a backend can be used without all that a target is.
    from scaler.orchestrators.base import Orchestrator


def create(name: str) -> Orchestrator:
    """The backend of that module name, configured from the environment."""
    module = importlib.import_module(f"{__name__}.{name}")
    backend: Orchestrator = module.create()
    return backend
