"""Totals that never fall, whatever the ledger does. Pure.

Prometheus takes a counter that falls for one that began anew, and its whole value for new events:
a Redis that comes back from a snapshot, two events older, would read as thousands of arrivals. So
where any total of a queue has fallen, the ledger is another one than before: all totals of the
queue stand for that scrape, and what the ledger counts from then on comes on top. That is right
for an older ledger and for an emptied one; to hold the highest until it is passed would hide every
event after the ledger was lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from common.records import Histogram, Outcome, QueueCounters

FORGET_S = 3600.0
"""A queue that the ledger no longer names is shown for so long."""

# All but what the queue is called: whatever is added there is followed too.
_NAMES = [each.name for each in fields(QueueCounters) if each.name not in ("queue", "vhost")]
Numbers = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Followed:
    """A queue's totals as the ledger last had them, and as they were shown."""

    ledger: QueueCounters
    shown: Numbers
    named_at: float


class SteadyTotals:
    """Follows the totals of every queue from scrape to scrape. For one thread."""

    def __init__(self) -> None:
        self._queues: dict[str, _Followed] = {}

    def follow(
        self, read: Sequence[QueueCounters], unread: Collection[str], now: float
    ) -> list[QueueCounters]:
        """What to show for what was `read` at `now` (monotonic seconds).

        Queues of `unread` are there, with totals that can't be read; those that were there before
        and are neither stand still.
        """
        for counters in read:
            self._queues[counters.queue] = self._next(counters, now)
        named = {counters.queue for counters in read}
        for queue in self._queues.keys() - named - set(unread):
            before = self._queues[queue]
            if now - before.named_at > FORGET_S:
                del self._queues[queue]
            else:
                nothing = _with(before.ledger, (0.0,) * len(before.shown))
                self._queues[queue] = replace(before, ledger=nothing)
        return [
            _with(followed.ledger, followed.shown)
            for queue, followed in sorted(self._queues.items())
            if queue not in unread
        ]

    def _next(self, counters: QueueCounters, now: float) -> _Followed:
        before = self._queues.get(counters.queue)
        numbers = _numbers(counters)
        if before is None:
            return _Followed(counters, numbers, now)
        steps = [new - old for new, old in zip(numbers, _numbers(before.ledger), strict=True)]
        if min(steps) < 0:
            return _Followed(counters, before.shown, now)
        shown = tuple(old + step for old, step in zip(before.shown, steps, strict=True))
        return _Followed(counters, shown, now)


def _numbers(counters: QueueCounters) -> Numbers:
    """All in it that only ever grows: of histograms each bucket for itself, not cumulated."""
    found: list[float] = []
    for name in _NAMES:
        value = getattr(counters, name)
        if isinstance(value, Histogram):
            found += (*_parts(value), value.sum)
        elif isinstance(value, dict):
            found += (value.get(outcome, 0) for outcome in Outcome)
        else:
            found.append(value)
    return tuple(found)


def _parts(histogram: Histogram) -> Iterator[int]:
    counts = [count for _, count in histogram.buckets]
    return (count - below for below, count in itertools.pairwise((0, *counts)))


def _with(counters: QueueCounters, numbers: Numbers) -> QueueCounters:
    """`counters` with these instead of its own `_numbers`."""
    left = iter(numbers)
    changed: dict[str, Any] = {}
    for name in _NAMES:
        value = getattr(counters, name)
        if isinstance(value, Histogram):
            counts = list(itertools.accumulate(round(next(left)) for _ in value.buckets))
            bounds = (bound for bound, _ in value.buckets)
            changed[name] = Histogram(tuple(zip(bounds, counts, strict=True)), next(left))
        elif isinstance(value, dict):
            changed[name] = {outcome: round(next(left)) for outcome in Outcome}
        else:
            changed[name] = round(next(left))
    return replace(counters, **changed)
