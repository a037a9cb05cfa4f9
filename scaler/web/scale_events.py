"""Where the decided number changed: read from the history once, and then only what is new."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from common.bounded import Recent
from scaler.loop.history import History
from scaler.web.models import ScaleEvent

_SHOWN = 60
_READ = 2000
_KEPT = 128


@dataclass(frozen=True, slots=True)
class _Read:
    """How far the history of a target was read for a span."""

    events: Sequence[ScaleEvent] = ()
    last: dict[str, Any] | None = None
    """The newest decision."""


class ScaleEvents:
    """Of every target that is looked at. Safe for use from several threads."""

    def __init__(self, history: History, clock: Callable[[], float]) -> None:
        self._history = history
        self._clock = clock
        self._kept: Recent[tuple[str, float], _Read] = Recent(_KEPT)
        self._lock = threading.Lock()

    def of(self, target_name: str, span_s: float) -> Sequence[ScaleEvent]:
        """The last ones within `span_s`, oldest first."""
        since = self._clock() - span_s
        with self._lock:
            before = self._kept.get((target_name, span_s)) or _Read()
            last = before.last
            if last is not None and not since <= last["at"] <= self._clock():
                # Too long ago to go on from there, or the clock was set back since.
                before, last = _Read(), None
            found = self._history.decisions(
                target_name, since=last["at"] if last else since, limit=_READ
            )[::-1]
            if last is not None:
                found = [last, *(each for each in found if each["at"] > last["at"])]
            events = [*before.events, *changes(found)]
            recent = [event for event in events if event.at >= since][-_SHOWN:]
            self._kept.put((target_name, span_s), _Read(recent, found[-1] if found else None))
            return recent


def changes(decisions: Sequence[Mapping[str, Any]]) -> list[ScaleEvent]:
    """Where the decided number changed, from decisions in the order of time."""
    return [
        ScaleEvent(
            at=after["at"],
            before=before["replicas"],
            after=after["replicas"],
            reason=after["reason"],
        )
        for before, after in pairwise(decisions)
        if before["replicas"] != after["replicas"]
    ]
