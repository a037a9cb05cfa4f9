"""What would have been seen of targets in the past: the queries of a look, over ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from common.background import Background
from scaler.policy.observation import Observation, Signal
from scaler.policy.target import Target
from scaler.policy.usual import Load
from scaler.prometheus.client import Prometheus, Sample
from scaler.prometheus.signals import (
    ALL,
    FRESH,
    LOAD,
    SLOW,
    Answers,
    Key,
    SignalSource,
    matcher,
    observation,
    one_number,
    recent_query,
    signals_query,
)

Seconds = float
Seen = Sequence[tuple[Seconds, Observation]]
Loads = Sequence[tuple[Seconds, Load]]
_Rows = Mapping[Key, Mapping[int, float]]
"""Values by element and milliseconds."""


class Grid(NamedTuple):
    """Moments `step_s` apart, both ends included; epoch seconds, to the millisecond."""

    first: Seconds
    last: Seconds
    step_s: Seconds

    def times(self) -> Iterator[Seconds]:
        """The moments, oldest first."""
        count = round((self.last - self.first) / self.step_s)
        return (round(self.first + at * self.step_s, 3) for at in range(count + 1))


class Past:
    """Asks one Prometheus about the past of targets. Methods raise PrometheusError."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus
        self._threads = Background("past", 4)

    def seen(self, targets: Sequence[Target], grid: Grid) -> Mapping[str, Seen]:
        """(time, what a look would have seen then) of each target, by its name, oldest first."""
        queues = matcher(target.queue for target in targets)
        fresh, slow = (
            self._threads.submit(partial(self._rows, signals_query(asked, queues), grid))
            for asked in (FRESH, SLOW)
        )
        own = self._own(targets, grid)
        record = _Record({**fresh.result(), **slow.result()}, grid, ALL)
        return {
            target.name: list(_observed(target, record, {}, own.get(target.query or "")))
            for target in targets
        }

    def seen_lately(
        self, present: Sequence[tuple[Target, Observation]], grid: Grid
    ) -> Mapping[str, Seen]:
        """The same of so short a time that the slow signals are those of the `present`."""
        targets = [target for target, _ in present]
        query = signals_query(FRESH, matcher(target.queue for target in targets))
        record = _Record(self._rows(query, grid), grid, FRESH)
        own = self._own(targets, grid)
        return {
            target.name: list(
                _observed(target, record, dict(now.inputs()), own.get(target.query or ""))
            )
            for target, now in present
        }

    def loads(self, targets: Sequence[Target], grid: Grid) -> Mapping[str, Loads]:
        """What each target had to do, by its name: of the moments at which that was known."""
        rows = self._rows(recent_query(LOAD, matcher(target.queue for target in targets)), grid)
        return {target.name: _loads_of(target, rows) for target in targets}

    def _rows(self, query: str, grid: Grid) -> _Rows:
        found: dict[Key, dict[int, float]] = {}
        for labels, points in self._prometheus.matrix(query, *grid):
            key = labels.get("signal", ""), labels.get("queue", ""), labels.get("vhost", "")
            found[key] = {milliseconds(at): value for at, value in points}
        return found

    def _own(self, targets: Sequence[Target], grid: Grid) -> Mapping[str, Mapping[int, Signal]]:
        """What operators' own queries gave, each by milliseconds."""
        found = {}
        for query in {target.query for target in targets if target.query is not None}:
            samples: dict[int, list[Sample]] = {}
            for labels, points in self._prometheus.matrix(query, *grid):
                for at, value in points:
                    samples.setdefault(milliseconds(at), []).append(Sample(labels, value))
            found[query] = {at: one_number(each, query) for at, each in samples.items()}
        return found


class _Record(NamedTuple):
    """What was answered of all queues."""

    rows: _Rows
    grid: Grid
    asked: Sequence[SignalSource]


def _observed(
    target: Target,
    record: _Record,
    others: Mapping[str, Signal],
    own: Mapping[int, Signal] | None,
) -> Iterator[tuple[Seconds, Observation]]:
    """The signals of the record at each of its moments, with the `others`."""
    rows, grid, asked = record
    mine = {key: row for key in _keys(target, asked) if (row := rows.get(key)) is not None}
    for at in grid.times():
        moment = milliseconds(at)
        values = {key: row[moment] for key, row in mine.items() if moment in row}
        signals = {**others, **Answers(values, {}).read(target, asked)}
        extra = None
        if target.query is not None:
            extra = (own or {}).get(moment) or one_number((), target.query)
        yield at, observation(signals, extra)


def _loads_of(target: Target, rows: _Rows) -> Loads:
    waiting, busy, rates = (rows.get(each.keys(target)[0], {}) for each in LOAD)
    found = []
    for moment, number in waiting.items():
        in_flight, rate = busy.get(moment, -1.0), rates.get(moment, -1.0)
        # A number below 0 cannot be, and so is not known.
        if number >= 0.0 and in_flight >= 0.0:
            found.append((moment / 1000, Load.of(number, in_flight, rate if rate >= 0.0 else None)))
    return found


def _keys(target: Target, asked: Sequence[SignalSource]) -> Iterator[Key]:
    for each in asked:
        yield from each.keys(target)


def milliseconds(at: Seconds) -> int:
    """A time as Prometheus keeps it."""
    return round(at * 1000)
