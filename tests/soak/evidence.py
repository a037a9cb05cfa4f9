"""What a soak leaves behind, as its judge reads it: what was sent, what came out, what was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What a message is meant to come to."""

    GOOD = "good"
    """Rendered at the first attempt."""
    TRANSIENT = "transient"
    """Fails once or twice, then succeeds."""
    PERMANENT = "permanent"
    """Can only be parked."""
    DEADLY = "deadly"
    """Kills the worker that renders it, once to three times."""
    POISON = "poison"
    """Can't be read, or hardly: parked or announced, both are right."""


class What(StrEnum):
    """What is known of a worker at a moment."""

    LOOK = "look"
    """It looked whether a job's result is stored: the beginning of a delivery."""
    RENDER = "render"
    """Its renderer began."""
    KEPT = "kept"
    """It has stored a result."""
    MURDER = "murder"
    """Its renderer is about to kill it."""
    SETTLED = "settled"
    """It logged that it has settled a job, and its acknowledgement has been processed."""
    LOGGED = "logged"
    """It logged something."""
    SESSION_ENDED = "session ended"
    """It logged that its connection to the broker was lost."""


@dataclass(frozen=True, slots=True)
class Order:
    """What an owner means by a message, of which there may be several copies."""

    key: str
    job_id: str
    kind: Kind
    copies: int = 1
    """How many messages the queue may have had of it."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that a worker process did, at a time in epoch seconds."""

    at: float
    process: str
    what: What
    job_id: str | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """The end of a worker process."""

    at: float
    process: str
    by_test: bool
    """Whether the soak killed it, or asked it to leave and it did."""
    how: str
    code: int = 0
    """The exit code; negative for a signal."""


@dataclass(frozen=True)
class Evidence:
    """Everything that is judged."""

    orders: Sequence[Order]
    announced: Sequence[str] = ()
    """The key of the order that each message on the result queue answers."""
    parked: Sequence[str] = ()
    """Job ids of what is in the dead queue."""
    marks: Sequence[Mark] = ()
    ends: Sequence[End] = ()
    crashes: Sequence[float] = ()
    """When the broker was killed, in epoch seconds."""
    left: Mapping[str, int] = field(default_factory=dict)
    """Messages that are still in job and retry queues, by queue."""
