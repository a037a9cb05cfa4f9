"""Docker Swarm: grows services by their replica count, shrinks them by empty slots alone.

See docs/adr/0067-slots-beyond-the-count.md for the one case in which it raises a count to shrink.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from scaler.orchestrators.base import (
    FleetHandle,
    Offer,
    Orchestrator,
    OrchestratorError,
    roster,
)
from scaler.orchestrators.swarm.breaker import Breaker
from scaler.orchestrators.swarm.engine import DirectEngine, Engine, StaleVersionError
from scaler.orchestrators.swarm.gateway_engine import GatewayEngine
from scaler.orchestrators.swarm.listing import Listing
from scaler.orchestrators.swarm.removal_order import choose, safe_to_lower
from scaler.orchestrators.swarm.service_view import (
    ServiceView,
    bounds_of,
    fields_of,
    obstacle,
    short_name,
)
from scaler.orchestrators.swarm.settings import SwarmSettings
from scaler.policy.observation import Fleet, Worker
from scaler.policy.target import MAX_REPLICAS, Target

_CATCHES_UP_IN_S = 10.0


def connected(settings: SwarmSettings) -> Swarm:
    """Through the gateway where one is named; raises ConfigError."""
    if settings.gateway_url and settings.gateway_token:
        token = settings.gateway_token.get_secret_value()
        return Swarm(GatewayEngine(settings.gateway_url, token))
    grace_s = settings.graceful_shutdown_timeout
    return Swarm(DirectEngine(settings.docker_host, min_grace_s=grace_s))


@dataclass(slots=True)
class _Service(FleetHandle):
    """A service at one look. Its count is changed at the version of that look alone."""

    facts: Fleet
    engine: Engine
    seen: ServiceView
    draining: frozenset[str]
    """Tasks whose workers have been told to go."""
    low: int
    high: int
    behind_s: float
    """For how long the slots have not been as many as the count."""
    fence: Callable[[], None]
    changed: bool = False
    """From here: what was seen is past."""

    def scale_up(self, running: int, *, urgent: bool = False) -> str:
        """Raise the count to `running` plus the slots that nobody will be in.

        If `urgent`, also while tasks end after SIGTERM: see docs/adr/0066.
        """
        try:
            now = self._again()
            if now.hold and not (urgent and now.hold_yields):
                raise OrchestratorError(f"{now.name}: {now.hold}")
            leaving = sum(slot.task in self.draining and not slot.dead for slot in now.slots)
            # Those on their way out are replaced at once, but never above the label's maximum.
            wanted = now.dead + min(running + leaving, self.high)
            if wanted <= now.replicas:
                return f"{now.name} already has {now.replicas} replicas"
            return self._set(now, wanted)
        except StaleVersionError:
            return self._overtaken()

    def victims(self, idle: Sequence[Worker], count: int, /) -> Sequence[Worker]:
        """Idle workers, longest idle first, on whose slots Swarm's order of removal will fall."""
        if self.seen.hold or not _caught_up(self.seen):
            return ()
        # A slot without a node goes before all others and stops nobody.
        slots = [slot for slot in self.seen.slots if slot.node]
        own = {slot.task for slot in slots}
        by_task = {one.task: one for one in sorted(idle, key=lambda one: one.since)}
        return [by_task[task] for task in choose(slots, [t for t in by_task if t in own], count)]

    def reconcile(self) -> str | None:
        """Lower the count by one if exactly a dead slot goes with it; take in slots beyond it."""
        if self.changed or self._mended(self.seen) is None:
            return None
        try:
            now = self._again()
            mended = self._mended(now)
            return None if mended is None else self._set(now, *mended)
        except StaleVersionError:
            return self._overtaken()

    def _mended(self, seen: ServiceView) -> tuple[int, str] | None:
        """The count that takes account of the slots, and what of them; None to leave it."""
        if seen.hold:
            return None
        if _caught_up(seen):
            lower = seen.replicas > self.low and safe_to_lower(seen.slots)
            return (seen.replicas - 1, ", an empty slot") if lower else None
        # Swarm would remove what it keeps beyond the count at the next change of it.
        beyond = seen.replicas < len(seen.slots) <= self.high
        if self.behind_s < _CATCHES_UP_IN_S or not beyond:
            return None
        return len(seen.slots), ", slots that Swarm had left over"

    def _again(self) -> ServiceView:
        """The service's tasks now; StaleVersionError when the service is not as it was seen."""
        now = self.engine.view(self.seen.id)
        if now.version != self.seen.version:
            raise StaleVersionError(f"{now.name} has been changed")
        return now

    def _set(self, now: ServiceView, replicas: int, why: str = "") -> str:
        self.engine.set_replicas(now, replicas, self.fence)
        self.changed = True
        return f"{now.name}: replicas {now.replicas} -> {replicas}{why}"

    def _overtaken(self) -> str:
        return f"{self.seen.name} has changed since it was looked at; decided again next cycle"


class _Look(NamedTuple):
    """The Swarm at one moment."""

    listing: Listing
    owners: Mapping[str, Sequence[str]]
    """Names of the targets of each service, by its id."""

    def view(self, service: str) -> ServiceView:
        """A target's own service."""
        entry = self.listing.find(service)
        owners = self.owners.get(entry.id, ())
        if len(owners) > 1:
            those = " and ".join(sorted(owners))
            raise OrchestratorError(f"service {entry.name} is claimed by the targets {those}")
        return entry.read()


class Swarm(Orchestrator):
    """Replicated services of a Swarm. Nothing but their replica count is ever changed."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = Breaker(engine)
        self._clock = clock
        self._look: _Look | str = "the Swarm has not been looked at yet"
        """The last one, or why there is none. Replaced as a whole: another thread may look."""
        self._behind: dict[str, tuple[int, float]] = {}
        """Services whose slots are not as many as their count: at which version, since when."""

    def close(self) -> None:
        """Give the connection back."""
        self._engine.close()

    def refresh(self, targets: Sequence[Target]) -> None:
        """List all services and tasks."""
        try:
            listing = self._engine.listing()
        except OrchestratorError as error:
            self._look = str(error)
            raise
        owners: defaultdict[str, list[str]] = defaultdict(list)
        for target in targets:
            with suppress(OrchestratorError):  # `fleet` says it
                owners[listing.find(target.service).id].append(target.name)
        self._look = _Look(listing, owners)
        self._behind = {one: lag for one, lag in self._behind.items() if one in listing}

    def discover(self) -> Sequence[Offer]:
        """Services labelled `autoscaler.enable=true`."""
        return [
            Offer(
                entry.name,
                fields_of(entry.labels),
                known_as=frozenset({entry.id}),
                formerly=short_name(entry.name, entry.labels),
            )
            for entry in self._last().listing.opted_in
        ]

    def fleet(self, target: Target, workers: Sequence[Worker] | None) -> FleetHandle:
        """Count slots and tasks, and say what forbids a change or stands in the way."""
        look = self._last()
        seen = look.view(target.service)
        low, high = _bounds(seen)
        kind, words = obstacle(seen.tasks, look.listing.now) or (None, None)
        live = [slot for slot in seen.slots if not slot.dead]
        shown = roster([slot.task for slot in live], workers)
        asked = len(shown.draining)
        pending = [slot for slot in live if not slot.running and slot.task not in shown.draining]
        facts = Fleet(
            replicas=seen.replicas,
            running=len(live) - asked,
            starting=len(pending if workers is None else shown.starting),
            draining=asked + sum(task.leaving for task in seen.tasks),
            dead=seen.dead,
            unhealthy=len(shown.stuck),
            hold=seen.hold,
            hold_yields=seen.hold_yields,
            obstacle=words,
            obstacle_kind=kind,
            pending=len(pending),
            most=high,
        )
        return _Service(
            facts,
            self._engine,
            seen,
            shown.draining,
            low=max(target.min_workers, low),
            high=high,
            behind_s=self._lag(seen),
            fence=self.fence,
        )

    def _last(self) -> _Look:
        look = self._look
        if isinstance(look, str):
            raise OrchestratorError(look)
        return look

    def _lag(self, seen: ServiceView) -> float:
        """For how many seconds Swarm has been behind the count at this version, holds apart."""
        now = self._clock()
        if seen.hold:
            return 0.0
        if _caught_up(seen):
            self._behind.pop(seen.id, None)
            return 0.0
        version, since = self._behind.get(seen.id, (None, now))
        if version != seen.version:
            self._behind[seen.id] = (seen.version, now)
            return 0.0
        return now - since


def _caught_up(seen: ServiceView) -> bool:
    """Whether Swarm has as many slots as the count, so that its next step can be foretold."""
    return len(seen.slots) == seen.replicas


def _bounds(seen: ServiceView) -> tuple[int, int]:
    """What the service's labels allow."""
    try:
        return bounds_of(seen.labels, {"min": 0, "max": MAX_REPLICAS})
    except ValueError as error:
        raise OrchestratorError(f"{seen.name}: {error}") from error
