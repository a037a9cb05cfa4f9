"""What the loop holds of one target between cycles."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from scaler.loop.drain import Drains
from scaler.orchestrators.base import FleetHandle, Orchestrator
from scaler.policy import explain
from scaler.policy.decision import Action, Applied, Decision
from scaler.policy.memory import Memory
from scaler.policy.observation import Observation, Obstacle, Worker
from scaler.policy.target import Target


@dataclass(frozen=True, slots=True)
class Cycle:
    """How one cycle ended for one target."""

    decision: Decision
    applied: Applied
    made_at: float = field(default_factory=time.monotonic)
    """Monotonic seconds, by which its age is judged: the wall clock may be set."""

    @property
    def sentence(self) -> str:
        """What was decided and why, and what was done, for a person."""
        return explain.line(self.decision, explain.done(self.applied))

    @property
    def kind(self) -> str:
        """What makes it worth a line of its own."""
        decision = self.decision
        what = f"{decision.replicas} {decision.action} {decision.bound}"
        return f"{what} {explain.done(self.applied)}"


@dataclass(frozen=True, slots=True)
class Look:
    """What a cycle saw of a target."""

    observation: Observation
    workers: Sequence[Worker] | None = None
    """As last seen: a moment of blindness does not make them unseen. None before that."""
    fleet: FleetHandle | None = None
    """The fleet of `observation`, with what may be done about it; None when it is unknown."""


@dataclass
class Counts:
    """What became of a target's decisions so far."""

    decisions: dict[Action, int] = field(default_factory=lambda: dict.fromkeys(Action, 0))
    errors: int = 0
    """Decisions that could not be made or applied."""
    granted: int = 0
    """Drain requests."""
    withdrawn: int = 0


@dataclass
class Unread:
    """That a target's past is still to be read."""

    kept: Memory | None
    """What the history had of it."""
    tries: int = 0


@dataclass
class TargetState:
    """One target, with what is remembered of it."""

    target: Target
    orchestrator: Orchestrator
    drains: Drains
    memory: Memory
    past: Unread | None
    """None once it is read, or was given up."""
    look: Look | None = None
    latest: Cycle | None = None
    failure: str = ""
    """Why the newest cycle came to no decision, "" where it did."""
    logged: str = ""
    """The kind of the cycle that was logged last."""
    obstacle: Obstacle | None = None
    """What was last logged to stand in the way."""
    counts: Counts = field(default_factory=Counts)
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Of `memory`, which the loop and people's orders change."""

    @property
    def sentence(self) -> str:
        """How the newest cycle ended."""
        if self.failure:
            return self.failure
        return "nothing is decided yet" if self.latest is None else self.latest.sentence
