"""What a Controller in tests is made with: a past that nobody has to read, and one clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from scaler.loop.clock import LoopClock
from scaler.loop.restore import Due
from scaler.policy.memory import Memory


def as_kept(due: Sequence[Due], _now: float) -> Mapping[str, Memory]:
    """Memories as they were kept, or empty ones."""
    return {each.target.name: each.last or Memory() for each in due}


def never_set(now: Callable[[], float]) -> LoopClock:
    """A clock on which time passes, and that is never set otherwise."""
    return LoopClock(now, now)
