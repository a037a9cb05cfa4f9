"""What every orchestrator can do, and a fleet as it was at one look."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from scaler.orchestrators.errors import OrchestratorError
from scaler.policy.observation import Fleet, Worker, WorkerCondition
from scaler.policy.target import Target

__all__ = ["FleetHandle", "Offer", "Orchestrator", "OrchestratorError", "Roster", "roster"]


class FleetHandle(ABC):
    """One target's fleet at one look, and the changes that can be made from there.

    It carries what a change has to know of that look, so the calls may come in any order, or not
    at all. Take a new one each cycle. Methods raise OrchestratorError.
    """

    facts: Fleet
    """What was seen."""

    @abstractmethod
    def scale_up(self, running: int, *, urgent: bool = False) -> str:
        """Have that many workers running or starting; a sentence of what was done.

        Refused while held, except in an emergency (`urgent`) where `Fleet.hold_yields`.
        """

    @abstractmethod
    def victims(self, idle: Sequence[Worker], count: int, /) -> Sequence[Worker]:
        """Up to `count` of `idle` that may be asked to leave now, in the order to ask.

        Fewer, or none, where asking would make the orchestrator stop somebody else. `idle` may
        name workers of other services on the same queue; those are never among them.
        """

    @abstractmethod
    def reconcile(self) -> str | None:
        """Take account of workers that have left by themselves (lower the replica count by the
        slots they left empty), never stopping anyone but the stuck where nothing else ends
        those; a sentence if there was anything to do."""

    def refuse_if_held(self, *, urgent: bool) -> None:
        """Raises OrchestratorError with the reason of a hold that does not yield."""
        if self.facts.hold is not None and not (urgent and self.facts.hold_yields):
            raise OrchestratorError(self.facts.hold)


@dataclass(frozen=True, slots=True)
class Offer:
    """A service that asks to be scaled."""

    service: str
    """Its full name."""
    fields: Mapping[str, str]
    """Of a target, as the service says them; `name` among them only if it says one."""
    known_as: frozenset[str] = frozenset()
    """Further names by which a target may mean it: its id."""
    formerly: str = ""
    """What a target made of it was called up to version 0.1, if not by its full name."""


class Orchestrator(ABC):
    """Runs the workers of targets. Methods raise OrchestratorError.

    A cycle begins with `refresh`; what `fleet` and `discover` say is of that look. `refresh` may
    be called on another thread than the rest.
    """

    fence: Callable[[], None] = staticmethod(lambda: None)
    """Called right before each change; raises OrchestratorError where this process may not make
    it any more, since another leads."""

    def refresh(self, targets: Sequence[Target]) -> None:  # noqa: B027 - many need no look
        """Look once, for all of `targets`. If it raises, so does `fleet`, of each of them."""

    @abstractmethod
    def fleet(self, target: Target, workers: Sequence[Worker] | None) -> FleetHandle:
        """What ran for `target` at the last look.

        `workers` tells who of them already consumes; None where nobody has ever said who works.
        """

    def discover(self) -> Sequence[Offer]:
        """Services that ask to be scaled; most backends know of none."""
        return ()

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Give back what it holds. Workers go on unless they are this process's own children."""


@dataclass(frozen=True, slots=True)
class Roster:
    """A fleet's tasks (see `Worker.task`) by what their workers show."""

    starting: frozenset[str]
    """Whose worker does not consume yet, or has not shown itself."""
    draining: frozenset[str]
    stuck: frozenset[str]


def roster(tasks: Collection[str], workers: Iterable[Worker] | None) -> Roster:
    """The states of the workers in `tasks`; `workers` may name others, too. Where it is None,
    nothing is said of anybody."""
    if workers is None:
        return Roster(frozenset(), frozenset(), frozenset())
    shown = {worker.task: worker for worker in workers}
    states = {
        task: shown[task].state if task in shown else WorkerCondition.STARTING for task in tasks
    }

    def among(state: WorkerCondition) -> frozenset[str]:
        return frozenset(task for task, each in states.items() if each is state)

    return Roster(
        starting=among(WorkerCondition.STARTING),
        draining=among(WorkerCondition.DRAINING),
        stuck=frozenset(task for task in states if task in shown and shown[task].stuck),
    )
