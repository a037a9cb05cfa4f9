"""Decides and tells, but changes nothing: for a first look, and for KEDA, which scales itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from scaler.orchestrators.base import FleetHandle, Orchestrator, OrchestratorError
from scaler.policy.observation import Fleet, Worker, WorkerCondition
from scaler.policy.target import Target

_RUNNING = (WorkerCondition.STARTING, WorkerCondition.IDLE, WorkerCondition.BUSY)


@dataclass(frozen=True, slots=True)
class _Onlooker(FleetHandle):
    """Says what would be done."""

    facts: Fleet
    service: str

    def scale_up(self, running: int, **_: bool) -> str:
        return f"dry run: would have {running} workers of {self.service}"

    def victims(self, *_: object) -> Sequence[Worker]:
        """Nobody is asked to leave."""
        return ()

    def reconcile(self) -> None:
        """Nothing to take account of."""


class DryRun(Orchestrator):
    """The fleet is what Prometheus sees of it."""

    def fleet(self, target: Target, workers: Sequence[Worker] | None) -> FleetHandle:
        """Count the workers that show themselves; to which pool they belong, their names tell.

        Raises OrchestratorError where none has had the chance to.
        """
        if workers is None:
            raise OrchestratorError("nobody has said yet who works")
        states = Counter(
            worker.state
            for worker in workers
            if not target.pools or target.pool_of(worker.id) == target.service
        )
        running = sum(states[state] for state in _RUNNING)
        facts = Fleet(
            replicas=running,
            running=running,
            starting=states[WorkerCondition.STARTING],
            draining=states[WorkerCondition.DRAINING],
        )
        return _Onlooker(facts, target.service)


def create() -> DryRun:
    """Needs no settings."""
    return DryRun()
