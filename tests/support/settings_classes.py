"""Every class of settings of every program, and which of their fields are secrets."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import common
import exporter
import scaler
import worker
from common.settings import Settings
from common.validation import is_secret

ROOMS = (common, exporter, scaler, worker)
GIVEN = {
    "RABBIT_URL": "amqp://user:word@broker",
    "REDIS_URL": "redis://ledger",
    "GATEWAY_TOKEN": "for-tests-only-0123456789",
}
"""What programs do not start without."""


def settings_classes() -> list[type[Settings]]:
    """All that there are, found by importing every module."""
    for room in ROOMS:
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    found = {each for each in _below(Settings) if each.__module__.split(".")[0] != "tests"}
    return sorted(found, key=lambda each: (each.__module__, each.__qualname__))


def secrets_of(model: type[Settings]) -> list[str]:
    """The fields of `model` that hold secrets."""
    return [name for name, about in model.model_fields.items() if is_secret(about.annotation)]


def required(model: type[Settings]) -> dict[str, str]:
    """Variables without which `model` is refused."""
    return {name: GIVEN[name] for name in GIVEN if name.lower() in model.model_fields}


def _below(base: type[Settings]) -> Iterator[type[Settings]]:
    for each in base.__subclasses__():
        yield each
        yield from _below(each)
