"""Decides and tells, but changes nothing: for a first look, and for KEDA, which scales itself."""

from __future__ import annotations

from collections.abc import Sequence

from scaler.orchestrators.base import Orchestrator, WorkerSeen
from scaler.policy.observation import Fleet
from scaler.policy.target import Target


class DryRun(Orchestrator):
    """The fleet is what Prometheus sees of it."""

    name = "dry_run"

    def fleet(self, target: Target, workers: Sequence[WorkerSeen]) -> Fleet:
        """Count the workers that show themselves; to which pool they belong, their names tell."""
        states = [
            worker.state
            for worker in workers
            if not target.pools or target.pool_of(worker.id) == target.service
        ]
        running = sum(state in ("starting", "idle", "busy") for state in states)
        return Fleet(
            replicas=running,
            running=running,
            starting=states.count("starting"),
            draining=states.count("draining"),
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
        idle: Sequence[WorkerSeen],  # noqa: ARG002 - the interface's
        count: int,  # noqa: ARG002 - the interface's
    ) -> Sequence[WorkerSeen]:
        """Nobody is asked to leave."""
        return ()

    def settle(self, target: Target) -> str | None:  # noqa: ARG002 - the interface's
        """Nothing to take account of."""
        return None


def create() -> DryRun:
    """Needs no settings."""
    return DryRun()
