"""Docker Swarm: grows services by their replica count, shrinks them by empty slots alone.

See docs/adr/0067-slots-beyond-the-count.md for the one case in which it raises a count to shrink.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, model_validator

from common.settings import Settings, load
from scaler.orchestrators.base import Orchestrator, OrchestratorError
from scaler.orchestrators.swarm.engine import DirectEngine, Engine, StaleVersionError
from scaler.orchestrators.swarm.gateway_engine import GatewayEngine
from scaler.orchestrators.swarm.removal_order import choose, safe_to_lower
from scaler.orchestrators.swarm.service_view import ServiceView, bounds_of, obstacle, offer_of
from scaler.policy.observation import Fleet, Worker, WorkerCondition
from scaler.policy.target import MAX_REPLICAS, Target

_ATTEMPTS = 5
_CATCHES_UP_IN_S = 10.0


class SwarmSettings(Settings):
    """Where the Swarm is and what it must grant its workers."""

    docker_host: str = "unix:///var/run/docker.sock"
    gateway_url: str | None = None
    """http://host:port of the gateway; without it the engine is spoken to directly."""
    gateway_token: SecretStr | None = None
    graceful_shutdown_timeout: Annotated[float, Field(gt=0)] = 300.0
    """Seconds that a job may take after SIGTERM; a service's stop_grace_period must allow it."""

    @model_validator(mode="after")
    def _token_given(self) -> Self:
        if self.gateway_url and self.gateway_token is None:
            raise ValueError("GATEWAY_URL only together with GATEWAY_TOKEN")
        return self


def create() -> Swarm:
    """From the environment; raises ConfigError."""
    settings = load(SwarmSettings)
    return Swarm(_engine(settings))


def _engine(settings: SwarmSettings) -> Engine:
    if settings.gateway_url and settings.gateway_token:
        return GatewayEngine(settings.gateway_url, settings.gateway_token.get_secret_value())
    grace_s = settings.graceful_shutdown_timeout
    return DirectEngine(settings.docker_host, min_grace_s=grace_s)


class Swarm(Orchestrator):
    """Replicated services of a Swarm. Nothing but their replica count is ever changed."""

    name = "swarm"

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock
        self._draining: dict[str, frozenset[str]] = {}
        self._behind: dict[str, tuple[int, float]] = {}
        """Services whose slots are not as many as their count: at which version, since when."""

    def close(self) -> None:
        """Give the connection back."""
        self._engine.close()

    def fleet(self, target: Target, workers: Sequence[Worker]) -> Fleet:
        """Count slots and tasks, and say what forbids a change or stands in the way."""
        seen = self._engine.view(target.service)
        states = {worker.task: worker.state for worker in workers}
        stuck = {worker.task for worker in workers if worker.stuck}
        kind, words = obstacle(seen.tasks, self._clock()) or (None, None)
        live = [slot for slot in seen.slots if not slot.dead]
        said = [states.get(slot.task, WorkerCondition.STARTING) for slot in live]
        self._draining[target.name] = frozenset(
            slot.task
            for slot, state in zip(live, said, strict=True)
            if state is WorkerCondition.DRAINING
        )
        asked = said.count(WorkerCondition.DRAINING)
        return Fleet(
            replicas=seen.replicas,
            running=len(live) - asked,
            starting=said.count(WorkerCondition.STARTING),
            draining=asked + sum(task.leaving for task in seen.tasks),
            dead=seen.dead,
            unhealthy=sum(slot.task in stuck for slot in live),
            hold=seen.hold,
            hold_yields=seen.hold_yields,
            obstacle=words,
            obstacle_kind=kind,
            pending=sum(
                not slot.running and state is not WorkerCondition.DRAINING
                for slot, state in zip(live, said, strict=True)
            ),
            most=_bounds(seen)[1],
        )

    def scale_up(self, target: Target, running: int, *, urgent: bool = False) -> str:
        """Raise the count to `running` plus the slots that nobody will be in.

        If `urgent`, also while tasks end after SIGTERM: see docs/adr/0066.
        """
        draining = self._draining.get(target.name, frozenset())
        for _ in range(_ATTEMPTS):
            seen = self._changeable(target, urgent=urgent)
            slots = seen.slots
            leaving = sum(slot.task in draining and not slot.dead for slot in slots)
            # Those on their way out are replaced at once, but never above the label's maximum.
            wanted = seen.dead + min(running + leaving, _bounds(seen)[1])
            if wanted <= seen.replicas:
                return f"{seen.name} already has {seen.replicas} replicas"
            try:
                self._engine.set_replicas(seen, wanted)
            except StaleVersionError:
                continue
            return f"{seen.name}: replicas {seen.replicas} -> {wanted}"
        raise OrchestratorError(f"{target.service} is being changed by others all the time")

    def victims(self, target: Target, idle: Sequence[Worker], count: int) -> Sequence[Worker]:
        """Idle workers, longest idle first, on whose slots Swarm's order of removal will fall."""
        seen = self._engine.view(target.service)
        if seen.hold or not _consistent(seen):
            return ()
        # A slot without a node goes before all others and stops nobody.
        slots = [slot for slot in seen.slots if slot.node]
        own = {slot.task for slot in slots}
        by_task = {one.task: one for one in sorted(idle, key=lambda one: one.since)}
        return [by_task[task] for task in choose(slots, [t for t in by_task if t in own], count)]

    def settle(self, target: Target) -> str | None:
        """Lower the count by one if exactly a dead slot goes with it; take in slots beyond it."""
        seen = self._engine.view(target.service)
        if seen.hold:
            return None
        if not _consistent(seen):
            return self._take_in(seen)
        self._behind.pop(seen.id, None)
        if not safe_to_lower(seen.slots):
            return None
        if seen.replicas <= max(target.min_workers, _bounds(seen)[0]):
            return None
        return self._settle_at(seen, seen.replicas - 1, "an empty slot")

    def _take_in(self, seen: ServiceView) -> str | None:
        """Count what Swarm keeps beyond the count, and would remove at the next change of it."""
        slots, now = len(seen.slots), self._clock()
        version, since = self._behind.get(seen.id, (None, now))
        if version != seen.version:
            self._behind[seen.id] = (seen.version, now)
            return None
        if now - since < _CATCHES_UP_IN_S or not seen.replicas < slots <= _bounds(seen)[1]:
            return None
        return self._settle_at(seen, slots, "slots that Swarm had left over")

    def _settle_at(self, seen: ServiceView, replicas: int, why: str) -> str | None:
        """Set the count; None when somebody else has changed the service, and goes first."""
        try:
            self._engine.set_replicas(seen, replicas)
        except StaleVersionError:
            return None
        return f"{seen.name}: replicas {seen.replicas} -> {replicas}, {why}"

    def discover(self) -> Sequence[Mapping[str, Any]]:
        """Services labelled `autoscaler.enable=true`."""
        return [offer_of(seen) for seen in self._engine.opted_in()]

    def _changeable(self, target: Target, *, urgent: bool) -> ServiceView:
        seen = self._engine.view(target.service)
        if seen.hold and not (urgent and seen.hold_yields):
            raise OrchestratorError(f"{seen.name}: {seen.hold}")
        return seen


def _consistent(seen: ServiceView) -> bool:
    """Whether Swarm has caught up with the count, so that its next step can be foretold."""
    return len(seen.slots) == seen.replicas


def _bounds(seen: ServiceView) -> tuple[int, int]:
    """What the service's labels allow."""
    try:
        return bounds_of(seen.labels, {"min": 0, "max": MAX_REPLICAS})
    except ValueError as error:
        raise OrchestratorError(f"{seen.name}: {error}") from error
