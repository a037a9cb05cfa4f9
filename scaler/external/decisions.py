"""What the gRPC service reads of the control loop."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from scaler.loop.controller import Controller
from scaler.policy import explain


@dataclass(frozen=True, slots=True)
class DecidedTarget:
    """The last decision for one target, be it a new number or one that is held."""

    replicas: int
    active: bool
    """Whether there is work, jobs in workers' hands included."""
    at: float
    """Epoch seconds at which it was decided."""
    reason: str
    """The decision in a sentence."""


class Decisions(Protocol):
    """The decisions as they are made. Every method may be called from any thread."""

    def names(self) -> Collection[str]:
        """The targets of the configuration."""

    def latest(self, target_name: str) -> DecidedTarget | None:
        """The last decision for that target; None before the first."""

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called after every decision, from any thread; it returns at once.

        Returns what ends the subscription.
        """


class ControllerDecisions:
    """`Decisions` of a running controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.subscribe = controller.subscribe

    def names(self) -> Collection[str]:
        """The targets of the configuration, and those discovered."""
        return [target.name for target in self._controller.targets]

    def latest(self, target_name: str) -> DecidedTarget | None:
        """The last decision for that target; None before the first that had a number."""
        cycle = self._controller.latest(target_name)
        if cycle is None:
            return None
        decision = cycle.decision
        replicas = decision.replicas
        if replicas is None:
            return None
        return DecidedTarget(replicas, replicas > 0, decision.at, explain.reason(decision))
