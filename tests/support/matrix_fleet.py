"""The fleets of the matrix: what every cell needs of its own, and one in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from scaler.orchestrators.base import FleetHandle, Orchestrator
from scaler.policy.observation import Fleet, Worker
from scaler.policy.target import Target
from tests.support.handles import Handle
from tests.support.matrix_world import MatrixCrew


class MatrixFleet(Protocol):
    """The workers of one cell, by their orchestrator and in truth."""

    crew: MatrixCrew

    @property
    def orchestrator(self) -> Orchestrator:
        """As the scaler uses it."""

    def count(self) -> int:
        """Workers that the orchestrator is to run, looked at past any fault."""

    def leave(self, worker: str) -> None:
        """As one does that was asked to."""

    def alive(self) -> set[str]:
        """What runs of `crew.tasks`."""


class InMemoryFleet(Orchestrator):
    """Of the cells in which the orchestrator is not what fails."""

    def __init__(self, crew: MatrixCrew) -> None:
        self.crew = crew
        self._tasks = set(crew.tasks.values())

    @property
    def orchestrator(self) -> Orchestrator:
        return self

    def fleet(self, target: Target, workers: Sequence[Worker] | None) -> FleetHandle:
        running = len(self._tasks)
        shown = {worker.task for worker in workers or ()}
        starting = len(self._tasks - shown) if workers is not None else 0
        return Handle(Fleet(running, running, starting=starting), target, self)

    def scale_up(self, target: Target, running: int, *, urgent: bool = False) -> str:
        lacking = range(len(self._tasks), running)
        self._tasks |= {f"task-{number}" for number in lacking}
        return f"started {len(lacking)} workers"

    def victims(self, target: Target, idle: Sequence[Worker], count: int) -> Sequence[Worker]:
        # One after the other, as a Swarm often has it.
        return idle[: min(1, count)]

    def reconcile(self, target: Target) -> str | None:
        return None

    def count(self) -> int:
        return len(self._tasks)

    def leave(self, worker: str) -> None:
        self._tasks.remove(self.crew.tasks[worker])

    def alive(self) -> set[str]:
        return set(self._tasks)
