"""What a restarted scaler remembers: its own last memories, completed from Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import ceil, inf
from typing import NamedTuple

from common.background import Background
from scaler.policy.forecast import HOUR_S, KEPT_HOURS, forecast
from scaler.policy.memory import Memory, Survival, look_back
from scaler.policy.observation import Known, Observation
from scaler.policy.remember import rebuild
from scaler.policy.staffing import LOOK_BACK_S, headroom, keep_idle_for, startup_of
from scaler.policy.target import Target
from scaler.prometheus.client import Prometheus
from scaler.prometheus.recorded import Grid, Past, Seen
from scaler.prometheus.signals import matcher

# So many moments are looked at again, of all targets together: it takes about a second.
_MOMENTS = 25_000
# So many decided numbers are read, of all targets together.
_DECISIONS = 30_000
# Prometheus gives at most 11,000 points a series.
_MOST_POINTS = 10_000
_MINUTE_S = 60.0
_Numbers = Mapping[str, list[tuple[float, int]]]


class Due(NamedTuple):
    """A target whose past is to be read."""

    target: Target
    last: Memory | None
    """What was kept of it; orders of people are in nothing else."""
    seen: Observation
    """What is seen of it now."""


class Restore:
    """Rebuilds memories at the start of the scaler."""

    def __init__(self, prometheus: Prometheus, *, interval_s: float = 1.0) -> None:
        """`interval_s` is the time between decisions, which lie that far apart in the past too,
        as long as there are few targets; of many fewer moments are looked at, and the last ones
        closely. `prometheus` may take its time."""
        self._prometheus = prometheus
        self._past = Past(prometheus)
        self._threads = Background("decided", 1)
        self.interval_s = round(interval_s, 3)

    def __call__(self, due: Sequence[Due], now: float) -> Mapping[str, Memory]:
        """By target's name the memory that an unbroken run would have at `now` (epoch seconds).

        Raises PrometheusError when the past is not known.
        """
        reading = self._threads.submit(partial(self._decided, due, now))
        seen = self._seen(due, now)
        decided, found = reading.result()
        hours = self._hours([each.target for each in due if each.target.forecast], now)
        memories = {}
        for target, last, _ in due:
            name = target.name
            samples, numbers = seen[name], decided.get(name, [])
            if last is None:
                samples = _from_first_known(samples)
                # Before the first decision there was the fleet that it found.
                numbers = [*found.get(name, [])[:1], *numbers]
            memory = rebuild(
                samples, target, last=last, decided=numbers, interval_s=self.interval_s
            )
            memories[name] = _with_hours(memory, hours.get(target.queue, {}), target, now)
        return memories

    def _seen(self, due: Sequence[Due], now: float) -> Mapping[str, Seen]:
        """What was seen of each: at every moment that was decided at; or, of many, closely as long
        as an idle worker is kept, and before that of those whose maximum may have been short."""
        length_s, near_s = max(_needed_s(each, now) for each in due), max(map(_near_s, due))
        step_s = self._step(length_s * len(due), _MOMENTS)
        if step_s <= self.interval_s or near_s >= length_s:
            return self._past.seen([each.target for each in due], self._grid(now, length_s, step_s))
        near = self._grid(now, near_s, self._step(near_s * len(due), _MOMENTS))
        present = [(each.target, each.seen) for each in due]
        seen = dict(self._past.seen_lately(present, near))
        short = self._maybe_short(due)
        if short:
            step_s = self._step(length_s * len(short), _MOMENTS)
            far = self._grid(near.first, length_s - near_s, step_s)
            for name, before in self._past.seen(short, far).items():
                seen[name] = [*before, *seen[name]]
        return seen

    def _maybe_short(self, due: Sequence[Due]) -> list[Target]:
        """Whose demand may have exceeded the maximum within the time that this matters."""
        queues = matcher(each.target.queue for each in due)
        demand = f"queue:jobs_demand:sum{{{queues}}}[{2 * LOOK_BACK_S:.0f}s]"
        found = self._prometheus.vector(f"max by (queue) (max_over_time({demand}))")
        highest = {sample.labels.get("queue", ""): sample.value for sample in found}
        return [
            each.target
            for each in due
            if each.target.schedules
            or highest.get(each.target.queue, inf) + _allowance(each) > each.target.max_workers
        ]

    def _step(self, span_s: float, most: int) -> float:
        """Seconds, a multiple of the interval, at which so long a span has `most` moments."""
        return max(1, ceil(span_s / most / self.interval_s)) * self.interval_s

    def _grid(self, end: float, length_s: float, step_s: float) -> Grid:
        """The moments before `end`, the last one a step before it."""
        count = min(max(1, int(length_s / step_s)), _MOST_POINTS)
        return Grid(round(end - count * step_s, 3), round(end - step_s, 3), step_s)

    def _decided(self, due: Sequence[Due], now: float) -> tuple[_Numbers, _Numbers]:
        """By target what was decided when, and the fleets that were there."""
        where = matcher((each.target.name for each in due), "target")
        length_s = max(
            _since_s(each, look_back(each.target, Survival.DECIDED), now) for each in due
        )
        grid = self._grid(now, length_s, self._step(length_s * len(due), _DECISIONS))
        query = f"max by (target) (autoscaler_target_replicas{{{where}}})"
        decided = self._numbers(query, grid)
        paced = [each.target for each in due if _is_paced(each.target)]
        if paced and grid.step_s > self.interval_s:
            near = self._grid(now, _MINUTE_S, self._step(_MINUTE_S * len(due), _DECISIONS))
            for name, numbers in self._numbers(query, near).items():
                far = [each for each in decided.get(name, []) if each[0] < numbers[0][0]]
                decided[name] = far + numbers
        state = ",".join(filter(None, (where, 'state="running"')))
        found = self._numbers(f"max by (target) (autoscaler_replicas{{{state}}})", grid)
        return decided, found

    def _numbers(self, query: str, grid: Grid) -> dict[str, list[tuple[float, int]]]:
        series = self._prometheus.matrix(query, *grid)
        return {labels.get("target", ""): _changes(points) for labels, points in series if points}

    def _hours(self, targets: Sequence[Target], now: float) -> Mapping[str, Mapping[int, float]]:
        """By queue the mean demand of the finished hours, by their index."""
        if not targets:
            return {}
        demand = f"queue:jobs_demand:sum{{{matcher(target.queue for target in targets)}}}"
        query = f"max by (queue) (avg_over_time({demand}[1h]))"
        present = int(now // HOUR_S)
        # Just before the next hour begins, whose first sample is not of this one.
        first, last = ((hour + 1) * HOUR_S - 0.001 for hour in (present - KEPT_HOURS, present - 1))
        return {
            labels.get("queue", ""): {int(at // HOUR_S): mean for at, mean in points}
            for labels, points in self._prometheus.matrix(query, first, last, HOUR_S)
        }


def _changes(points: Sequence[tuple[float, float]]) -> list[tuple[float, int]]:
    """The first and the last of each run of one number: between them nothing changed."""
    last = len(points) - 1
    return [
        (at, int(number))
        for index, (at, number) in enumerate(points)
        if index in (0, last) or not points[index - 1][1] == number == points[index + 1][1]
    ]


def _needed_s(due: Due, now: float) -> float:
    """Seconds of the past that what is remembered of signals depends on."""
    back = look_back(due.target, Survival.SEEN)
    return _since_s(
        due, min(back, max(2 * LOOK_BACK_S, due.target.fallback_after, _near_s(due))), now
    )


def _allowance(due: Due) -> float:
    """How far the number wanted may have been above demand."""
    return 1.0 + 2.0 * headroom(due.seen, due.target, _near_s(due) * 2.0)


def _near_s(due: Due) -> float:
    """Seconds for which an idle worker is kept now, and so demand must be known closely."""
    return keep_idle_for(startup_of(due.seen, due.target) + 2.0) + 2.0


def _since_s(due: Due, length_s: float, now: float) -> float:
    at = None if due.last is None else due.last.at
    return length_s if at is None else max(0.0, min(length_s, now - at))


def _is_paced(target: Target) -> bool:
    """Whether it matters when exactly the last changes were."""
    return any(
        (target.max_added_per_minute, target.max_removed_per_minute, target.gates.cooldown_s)
    )


def _with_hours(
    memory: Memory, recorded: Mapping[int, float], target: Target, now: float
) -> Memory:
    """`memory` with the hours that the forecast looks at."""
    if not target.forecast:
        return memory
    present = int(now // HOUR_S)
    hours = memory.hours.refilled(recorded, present)
    return replace(memory, hours=hours, outlook=forecast(hours, present))


def _from_first_known(seen: Seen) -> Seen:
    """Without the time before anything was recorded, when nobody decided."""
    for index, (_, observation) in enumerate(seen):
        seen_then = observation.waiting, observation.in_flight, observation.idle
        own = (signal for _, signal in observation.extra)
        if any(isinstance(signal, Known) for signal in (*seen_then, *own)):
            return seen[index:]
    return []
