"""Targets that say so themselves: services whose labels ask for being scaled."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from common.errors import first_problem
from common.logs import get
from scaler.orchestrators.base import Orchestrator
from scaler.orchestrators.errors import OrchestratorError
from scaler.policy.target import Target

_EVERY_S = 5.0
_log = get("discovery")


class Discovery:
    """Asks the backends, every few seconds, for services that opted in."""

    def __init__(
        self,
        backends: Mapping[str, Orchestrator],
        *,
        defaults: Mapping[str, Any],
        configured: Sequence[Target],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`defaults` are those of every target; services of `configured` are left to the file."""
        self._clock = clock
        self._found: dict[str, tuple[Target, ...]] = {}
        self.reconfigure(backends, defaults=defaults, configured=configured)
        self._complained: set[str] = set()

    def reconfigure(
        self,
        backends: Mapping[str, Orchestrator],
        *,
        defaults: Mapping[str, Any],
        configured: Sequence[Target],
    ) -> None:
        """Ask these backends from now on, at once, as the constructor says."""
        self._backends = dict(backends)
        self._defaults = dict(defaults)
        self._services = {name for target in configured for name in target.services}
        self._names = {target.name for target in configured}
        self._vhosts = {target.queue: target.vhost for target in configured}
        self._asked_at = float("-inf")
        self._found = {name: self._found.get(name, ()) for name in backends}

    def __call__(self) -> list[Target]:
        """What has opted in; a backend that does not answer is taken to have what it had."""
        if self._clock() - self._asked_at >= _EVERY_S:
            self._asked_at = self._clock()
            for name, backend in self._backends.items():
                self._ask(name, backend)
        vhosts = dict(self._vhosts)
        return [
            target
            for targets in self._found.values()
            for target in targets
            if self._told_apart(target, vhosts)
        ]

    def _told_apart(self, target: Target, vhosts: dict[str, str]) -> bool:
        """Whether the target's queue is in the virtual host that all of its name are in."""
        held = vhosts.setdefault(target.queue, target.vhost)
        if held != target.vhost:
            what = f"a queue of the name {target.queue} is in the virtual host {held} already"
            self._complain(f"{target.name}.vhost: {target.vhost!r} is not allowed; {what}")
        return held == target.vhost

    def _ask(self, name: str, backend: Orchestrator) -> None:
        try:
            offers = backend.discover()
        except OrchestratorError as error:
            self._complain(str(error))
            return
        taken = [self._target(name, offer) for offer in offers]
        self._found[name] = tuple(target for target in taken if target is not None)

    def _target(self, backend: str, offer: Mapping[str, Any]) -> Target | None:
        if offer.get("service") in self._services or offer.get("name") in self._names:
            return None
        try:
            return Target.model_validate({**self._defaults, **offer, "orchestrator": backend})
        except ValidationError as error:
            field, value, allowed = first_problem(error, (str(offer.get("service")),))
            self._complain(f"{field}: {value!r} is not allowed; allowed: {allowed}")
            return None

    def _complain(self, what: str) -> None:
        if what not in self._complained and len(self._complained) < 1000:
            self._complained.add(what)
            _log.warning("not a target", reason=what)
