"""What the gRPC service reads of the control loop."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DecidedTarget:
    """The last decision for one target."""

    replicas: int
    active: bool
    """Whether there is work, jobs in workers' hands included."""
    at: float
    """Epoch seconds at which it was decided."""
    known: bool
    """False when nothing could be decided; `replicas` and `active` then mean nothing."""
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
