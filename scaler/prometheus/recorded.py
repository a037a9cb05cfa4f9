"""What would have been seen of targets in the past: the queries of a look, over ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from common.background import Background
from scaler.policy.observation import Observation, Signal
from scaler.policy.target import Target
from scaler.prometheus.client import Prometheus, Sample
from scaler.prometheus.signals import (
    ALL,
    FRESH,
    SLOW,
    Answers,
    Key,
    SignalSource,
    matcher,
    observation,
    one_number,
    signals_query,
)

Seconds = float
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

    def seen(
        self, targets: Sequence[Target], coarse: Grid, fine: Grid | None
    ) -> Mapping[str, list[tuple[Seconds, Observation]]]:
        """(time, what a look would have seen then) of each target, by its name, oldest first.

        Of the moments in `fine`, which come after those in `coarse`, the slow signals are those
        of the last coarse one.
        """
        queues = matcher(target.queue for target in targets)
        asked = [
            self._threads.submit(partial(self._rows, signals_query(FRESH, queues), coarse)),
            self._threads.submit(partial(self._rows, signals_query(SLOW, queues), coarse)),
        ]
        if fine is not None:
            query = signals_query(FRESH, queues)
            asked.append(self._threads.submit(partial(self._rows, query, fine)))
        queries = {target.query for target in targets if target.query is not None}
        own = {query: self._own(query, coarse, fine) for query in queries}
        fresh, slow, *finer = (each.result() for each in asked)
        rows = {**fresh, **slow}
        seen = {}
        for target in targets:
            extra = own.get(target.query or "")
            row = _Moments(target, extra)
            seen[target.name] = list(row.observations(rows, coarse, ALL))
            if fine is not None:
                seen[target.name] += row.observations(finer[0], fine, FRESH)
        return seen

    def _rows(self, query: str, grid: Grid) -> _Rows:
        found: dict[Key, dict[int, float]] = {}
        for labels, points in self._prometheus.matrix(query, *grid):
            key = labels.get("signal", ""), labels.get("queue", ""), labels.get("vhost", "")
            found[key] = {milliseconds(at): value for at, value in points}
        return found

    def _own(self, query: str, *grids: Grid | None) -> Mapping[int, Signal]:
        """What an operator's own query gave, by milliseconds."""
        found: dict[int, list[Sample]] = {}
        for grid in filter(None, grids):
            for labels, points in self._prometheus.matrix(query, *grid):
                for at, value in points:
                    found.setdefault(milliseconds(at), []).append(Sample(labels, value))
        return {at: one_number(samples, query) for at, samples in found.items()}


class _Moments:
    """One target's observations, one after the other."""

    def __init__(self, target: Target, own: Mapping[int, Signal] | None) -> None:
        self._target = target
        self._own = own
        self._signals: dict[str, Signal] = {}

    def observations(
        self, rows: _Rows, grid: Grid, asked: Sequence[SignalSource]
    ) -> Iterator[tuple[Seconds, Observation]]:
        target = self._target
        mine = {key: row for key in _keys(target, asked) if (row := rows.get(key)) is not None}
        for at in grid.times():
            moment = milliseconds(at)
            values = {key: row[moment] for key, row in mine.items() if moment in row}
            self._signals |= Answers(values, {}).read(target, asked)
            own = None
            if self._own is not None and target.query is not None:
                own = self._own.get(moment) or one_number((), target.query)
            yield at, observation(self._signals, own)


def _keys(target: Target, asked: Sequence[SignalSource]) -> Iterator[Key]:
    for each in asked:
        yield from each.keys(target)


def milliseconds(at: Seconds) -> int:
    """A time as Prometheus keeps it."""
    return round(at * 1000)
