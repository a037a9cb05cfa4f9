"""The controller's decisions as the gRPC service reads them."""

from __future__ import annotations

from collections.abc import Callable, Collection

from scaler.external.decisions import DecidedTarget
from scaler.loop.controller import Controller
from scaler.policy import explain


class ControllerDecisions:
    """`scaler.external.decisions.Decisions` over a running controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def names(self) -> Collection[str]:
        """The targets of the configuration."""
        return [target.name for target in self._controller.targets]

    def latest(self, target_name: str) -> DecidedTarget | None:
        """The last decision. A held one is as good as any; one that never knew a thing is not."""
        cycle = self._controller.latest(target_name)
        if cycle is None:
            return None
        decision = cycle.decision
        return DecidedTarget(
            replicas=decision.replicas,
            active=decision.replicas > 0,
            at=decision.at,
            known=self._controller.has_known(target_name),
            reason=explain.reason(decision),
        )

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called after every cycle; returns what ends that."""
        return self._controller.subscribe(callback)
