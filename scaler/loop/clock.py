"""The loop's time: the wall clock's, but for its steps, which are told apart from time passing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

_AGREES_S = 1.0
"""A clock that is kept right by small corrections is not stepped."""


class Moment(NamedTuple):
    """When a cycle is."""

    now: float
    """Epoch seconds. From one moment to the next it advances by the time that passed, apart from
    `stepped_s`."""
    stepped_s: float
    """By how much the wall clock was set meanwhile: what is remembered moves along."""


class LoopClock:
    """Follows the wall clock, which may be set, jump, stand still or run back."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()

    def now(self) -> float:
        """Epoch seconds, as the moment before has it and time has passed since."""
        return self._monotonic() + self._offset

    def unseen_step_s(self, wall: float) -> float:
        """How much later than `wall`, which the wall clock shows now, it is by the loop's clock: a
        step that the next moment tells of."""
        later_s = self.now() - wall
        return later_s if abs(later_s) > _AGREES_S else 0.0

    def moment(self) -> Moment:
        """Now, and whether the clock was set since the moment before."""
        passed, wall = self._monotonic(), self._wall()
        stepped_s = wall - (passed + self._offset)
        if abs(stepped_s) <= _AGREES_S:
            return Moment(passed + self._offset, 0.0)
        self._offset = wall - passed
        return Moment(wall, stepped_s)
