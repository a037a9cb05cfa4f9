"""What every orchestrator can do. Adding one is adding one module beside this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from scaler.orchestrators.errors import OrchestratorError
from scaler.policy.observation import Fleet, Worker
from scaler.policy.target import Target

__all__ = ["Orchestrator", "OrchestratorError"]


class Orchestrator(ABC):
    """Runs the workers of targets. Methods raise OrchestratorError.

    The controller calls, once a cycle and target: `fleet`; then `scale_up` or, to shrink,
    `victims`, whose workers it asks to drain through the ledger; then `settle`.
    """

    name: str
    """As in the configuration."""

    @abstractmethod
    def fleet(self, target: Target, workers: Sequence[Worker]) -> Fleet:
        """What runs for `target` now. `workers` tells who of them already consumes."""

    @abstractmethod
    def scale_up(self, target: Target, running: int, *, urgent: bool = False) -> str:
        """Have that many workers running or starting; a sentence of what was done.

        In an emergency (`urgent`) also while `Fleet.hold_yields`.
        """

    @abstractmethod
    def victims(self, target: Target, idle: Sequence[Worker], count: int) -> Sequence[Worker]:
        """Up to `count` of `idle` that may be asked to leave now, in the order to ask.

        Fewer, or none, where asking would make the orchestrator stop somebody else. `idle` may
        name workers of other services on the same queue; those are never among them.
        """

    @abstractmethod
    def settle(self, target: Target) -> str | None:
        """Take account of workers that have left by themselves (lower the replica count by the
        slots they left empty), never stopping anyone but the stuck where nothing else ends
        those; a sentence if anything was done."""

    def discover(self) -> Sequence[Mapping[str, Any]]:
        """Services that ask to be scaled, as fields of a Target; most backends know of none."""
        return ()

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Give back what it holds. Workers go on unless they are this process's own children."""
