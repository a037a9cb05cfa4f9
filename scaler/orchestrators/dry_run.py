"""Decides and tells, but changes nothing: for a first look, and for KEDA, which scales itself."""

from __future__ import annotations

from collections.abc import Sequence

from scaler.orchestrators.base import Orchestrator
from scaler.policy.observation import Fleet, Worker, WorkerCondition
from scaler.policy.target import Target

_RUNNING = (WorkerCondition.STARTING, WorkerCondition.IDLE, WorkerCondition.BUSY)


class DryRun(Orchestrator):
    """The fleet is what Prometheus sees of it."""

    name = "dry_run"

    def fleet(self, target: Target, workers: Sequence[Worker]) -> Fleet:
        """Count the workers that show themselves; to which pool they belong, their names tell."""
        states = [
            worker.state
            for worker in workers
            if not target.pools or target.pool_of(worker.id) == target.service
        ]
        running = sum(state in _RUNNING for state in states)
        return Fleet(
            replicas=running,
            running=running,
            starting=states.count(WorkerCondition.STARTING),
            draining=states.count(WorkerCondition.DRAINING),
        )

    def scale_up(
        self,
        target: Target,
        running: int,
        *,
        urgent: bool = False,  # noqa: ARG002 - the interface's
    ) -> str:
        """Only say what would be done."""
        return f"dry run: would have {running} workers of {target.service}"

    def victims(
        self,
        target: Target,  # noqa: ARG002 - the interface's
        idle: Sequence[Worker],  # noqa: ARG002 - the interface's
        count: int,  # noqa: ARG002 - the interface's
    ) -> Sequence[Worker]:
        """Nobody is asked to leave."""
        return ()

    def settle(self, target: Target) -> str | None:  # noqa: ARG002 - the interface's
        """Nothing to take account of."""
        return None


def create() -> DryRun:
    """Needs no settings."""
    return DryRun()
