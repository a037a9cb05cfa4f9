"""Which connections of a server wait for a request, and which of them make room for others.

A connection costs something while it says nothing, so one that says nothing is closed after a
while, and earlier where another needs its place. One whose request is being answered is never
closed for another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

FIRST_REQUEST_S = 10.0
"""Seconds within which a new connection has sent a request's whole head."""
NEXT_REQUEST_S = 15.0
"""The same for each further request on it."""
MOST = 256
"""So many may be open, unless a server says otherwise."""

C = TypeVar("C", bound=Hashable)


@dataclass(slots=True)
class _State:
    waits_since: float | None
    """Monotonic seconds; None while a request is answered."""
    answered: bool = False
    """Whether it has had an answer before."""

    @property
    def patience_s(self) -> float:
        return NEXT_REQUEST_S if self.answered else FIRST_REQUEST_S


class Connections(Generic[C]):
    """The book of the open ones. It closes nothing: it says which to close. May be called from
    any thread."""

    def __init__(self, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._states: dict[C, _State] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._states)

    def enter(self, connection: C) -> C | None:
        """A new connection, which waits for its first request. Returns the one to close: another
        in whose place it is, or itself where all are at work; None where there is room."""
        with self._lock:
            closed: C | None = None
            if len(self._states) >= self._most:
                closed = self._next_to_go()
                if closed is None:
                    return connection
                del self._states[closed]
            self._states[connection] = _State(self._clock())
            return closed

    def _next_to_go(self) -> C | None:
        """The one that waits longest, first among those that never had an answer."""
        waiting = [
            (state.answered, state.waits_since, number, connection)
            for number, (connection, state) in enumerate(self._states.items())
            if state.waits_since is not None
        ]
        return min(waiting, key=lambda each: each[:3])[3] if waiting else None

    def works(self, connection: C) -> None:
        """The whole head of a request has come."""
        with self._lock:
            state = self._states.get(connection)
            if state is not None:
                state.waits_since = None

    def waits(self, connection: C) -> None:
        """It has had its answer, and waits for the next request."""
        with self._lock:
            state = self._states.get(connection)
            if state is not None and state.waits_since is None:
                state.waits_since, state.answered = self._clock(), True

    def leave(self, connection: C) -> None:
        """It is closed; nothing happens for one that is not open."""
        with self._lock:
            self._states.pop(connection, None)

    def take_overdue(self) -> list[C]:
        """Those that have waited for too long, which count no longer: to be closed."""
        now = self._clock()
        with self._lock:
            overdue = [
                connection
                for connection, state in self._states.items()
                if state.waits_since is not None and now - state.waits_since > state.patience_s
            ]
            for connection in overdue:
                del self._states[connection]
        return overdue
