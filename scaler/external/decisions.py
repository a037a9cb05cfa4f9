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

    replicas: int | None
    """None where no number was ever known."""
    active: bool
    """Whether there is work, jobs in workers' hands included."""
    made_at: float
    """Monotonic seconds at which it was decided."""
    reason: str
    """The decision in a sentence."""


class Decisions(Protocol):
    """The decisions as they are made. Every method may be called from any thread."""

    def names(self) -> Collection[str]:
        """The targets of the configuration."""

    def has(self, target_name: str) -> bool:
        """Whether there is such a target."""

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

    def names(self) -> Collection[str]:
        """The targets of the configuration, and those discovered."""
        return [target.name for target in self._controller.targets]

    def has(self, target_name: str) -> bool:
        """Whether there is such a target."""
        return self._controller.target(target_name) is not None

    def latest(self, target_name: str) -> DecidedTarget | None:
        """The last decision for that target; None before the first."""
        cycle = self._controller.latest(target_name)
        if cycle is None:
            return None
        replicas, reason = cycle.decision.replicas, explain.reason(cycle.decision)
        return DecidedTarget(replicas, bool(replicas), cycle.made_at, reason)

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called after every cycle; returns what ends that."""
        return self._controller.subscribe(callback, "KEDA")
