"""A fleet's handle for orchestrators in memory, whose changes they make themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from scaler.orchestrators.base import FleetHandle, Orchestrator
from scaler.policy.observation import Fleet, Worker
from scaler.policy.target import Target


def looked(
    orchestrator: Orchestrator, target: Target, workers: Sequence[Worker] | None = ()
) -> FleetHandle:
    """The fleet at a look of now."""
    orchestrator.refresh([target])
    return orchestrator.fleet(target, workers)


class InMemory(Protocol):
    """What is done to a fleet in memory."""

    def scale_up(self, target: Target, running: int, *, urgent: bool = False) -> str: ...

    def victims(self, target: Target, idle: Sequence[Worker], count: int) -> Sequence[Worker]: ...

    def reconcile(self, target: Target) -> str | None: ...


@dataclass(frozen=True)
class Handle(FleetHandle):
    """Hands every change on."""

    facts: Fleet
    target: Target
    made_by: InMemory

    def scale_up(self, running: int, *, urgent: bool = False) -> str:
        return self.made_by.scale_up(self.target, running, urgent=urgent)

    def victims(self, idle: Sequence[Worker], count: int, /) -> Sequence[Worker]:
        return self.made_by.victims(self.target, idle, count)

    def reconcile(self) -> str | None:
        return self.made_by.reconcile(self.target)
