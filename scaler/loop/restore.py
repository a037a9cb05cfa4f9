"""What a restarted scaler remembers: its own last memories, completed from Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil, inf
from typing import NamedTuple

from common.background import Background
from common.logs import get
from scaler.policy.forecast import HOUR_S, KEPT_HOURS, forecast
from scaler.policy.memory import Memory, Survival, look_back
from scaler.policy.observation import Known, Observation
from scaler.policy.remember import rebuild
from scaler.policy.staffing import LOOK_BACK_S, headroom, keep_idle_for, lasting, startup_of
from scaler.policy.target import Target
from scaler.policy.usual import NOTHING, Usual
from scaler.prometheus.client import Prometheus, PrometheusError
from scaler.prometheus.recorded import Grid, Loads, Past, Seen
from scaler.prometheus.signals import matcher

# So many moments are looked at again, of all targets together: it takes about a second.
_MOMENTS = 25_000
# So many decided numbers are read, of all targets together.
_DECISIONS = 30_000
# So many loads are learned from, of all targets together: it takes half a second. What lies more
# than a minute apart would be a gap, so of more than five hundred targets the time is shorter.
_LOADS, _LOADS_STEP_S = 36_000, 50.0
# Moments fade over an hour; a stretch that is shorter than a minute they know to bridge.
_USUAL_S, _BRIDGED_S = 3600.0, 60.0
# Prometheus gives at most 11,000 points a series.
_MOST_POINTS = 10_000
_MINUTE_S = 60.0
_log = get("restore")
_Numbers = Mapping[str, list[tuple[float, int]]]


class Due(NamedTuple):
    """A target whose past is to be read."""

    target: Target
    last: Memory | None
    """What was kept of it; orders of people are in nothing else."""
    seen: Observation
    """What is seen of it now."""


class _Lately(NamedTuple):
    """What there was to do in the last hour."""

    loads: Mapping[str, Loads]
    """By target's name, of those of whom less is remembered."""
    step_s: float
    """So far apart."""


class _Samples(NamedTuple):
    """What was seen of one target, oldest first."""

    far: Seen
    """As much as windows need."""
    near: Seen
    """After that, closely."""

    @property
    def begin(self) -> float:
        """When the last of those is that lie far apart."""
        return self.far[-1][0] if self.far else -inf

    def from_first_known(self) -> _Samples:
        """Without the time before anything was recorded, when nobody decided."""
        far = _from_first_known(self.far)
        return _Samples(far, self.near if far else _from_first_known(self.near))


class Restore:
    """Rebuilds memories at the start of the scaler."""

    def __init__(self, prometheus: Prometheus, *, interval_s: float = 1.0) -> None:
        """`interval_s` is the time between decisions, which lie that far apart in the past too,
        as long as there are few targets; of many fewer moments are looked at, and the last ones
        closely. `prometheus` may take its time."""
        self._prometheus = prometheus
        self._past = Past(prometheus)
        self._threads = Background("recall", 2)
        self.interval_s = round(interval_s, 3)

    def __call__(self, due: Sequence[Due], now: float) -> Mapping[str, Memory]:
        """By target's name the memory that an unbroken run would have at `now` (epoch seconds).

        Raises PrometheusError when the past is not known.
        """
        reading = self._threads.submit(partial(self._decided, due, now))
        learning = self._threads.submit(partial(self._lately, due, now))
        far, near = self._seen(due, now)
        lately = learning.result()
        decided, found = reading.result()
        hours = self._hours([each.target for each in due if each.target.forecast], now)
        memories = {}
        for each in due:
            name = each.target.name
            samples, numbers = _Samples(far.get(name, ()), near[name]), decided.get(name, [])
            if each.last is None:
                samples = samples.from_first_known()
                # Before the first decision there was the fleet that it found.
                numbers = [*found.get(name, [])[:1], *numbers]
            memory = self._rebuilt(each, samples, lately, numbers)
            memories[name] = _with_hours(memory, hours.get(each.target.queue, {}), each.target, now)
        return memories

    def _rebuilt(
        self, due: Due, samples: _Samples, lately: _Lately, decided: Sequence[tuple[float, int]]
    ) -> Memory:
        target, last = due.target, due.last or Memory()
        if target.name in lately.loads:
            last = last._replace(usual=_learned(due, samples.near, lately, self.interval_s))
        step = partial(rebuild, target=target, interval_s=self.interval_s)
        before = [each for each in decided if each[0] <= samples.begin]
        memory = step(samples.far, last=last, decided=before)
        # Of what lies far apart the windows learn alone.
        return step(samples.near, last=memory._replace(usual=last.usual), decided=decided)

    def _seen(
        self, due: Sequence[Due], now: float
    ) -> tuple[Mapping[str, Seen], Mapping[str, Seen]]:
        """What was seen of each: at every moment that was decided at; or, of many, closely as long
        as an idle worker is kept, and, what comes first here, before that of those whose maximum
        may have been short."""
        length_s, near_s = max(_needed_s(each, now) for each in due), max(map(_near_s, due))
        step_s = self._step(length_s * len(due), _MOMENTS)
        if step_s <= self.interval_s or near_s >= length_s:
            grid = self._grid(now, length_s, step_s)
            return {}, self._past.seen([each.target for each in due], grid)
        near = self._grid(now, near_s, self._step(near_s * len(due), _MOMENTS))
        present = [(each.target, each.seen) for each in due]
        seen = self._past.seen_lately(present, near)
        short = self._maybe_short(due)
        if not short:
            return {}, seen
        step_s = self._step(length_s * len(short), _MOMENTS)
        far = self._grid(near.first, length_s - near_s, step_s)
        return self._past.seen(short, far), seen

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

    def _lately(self, due: Sequence[Due], now: float) -> _Lately:
        """What there was to do in the last hour, of those of whom less is remembered. What cannot
        be read is not known, which keeps nobody from deciding."""
        short = [each for each in due if now - _usual_at(each) > _BRIDGED_S]
        if not short:
            return _Lately({}, 0.0)
        most_s = min(_USUAL_S, _LOADS_STEP_S * _LOADS / len(short))
        length_s = min(most_s, now - min(map(_usual_at, short)))
        step_s = min(self._step(length_s * len(short), _LOADS), _LOADS_STEP_S)
        grid = self._grid(now, length_s, step_s)
        try:
            return _Lately(self._past.loads([each.target for each in short], grid), step_s)
        except PrometheusError as error:
            _log.warning("the last hour not read", targets=len(short), reason=str(error))
            return _Lately({}, 0.0)

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


def _usual_at(due: Due) -> float:
    """Until when what is usual was kept; 0 where it was not."""
    return 0.0 if due.last is None else due.last.usual.demand.at


def _learned(due: Due, samples: Seen, lately: _Lately, interval_s: float) -> Usual:
    """What was usual until those of the close `samples` begin that its memory has not."""
    usual = NOTHING if due.last is None else due.last.usual
    since = -inf if due.last is None or due.last.at is None else due.last.at
    begin = next((at for at, _ in samples if at > since), inf)
    lags = round((startup_of(due.seen, due.target) + interval_s) / lately.step_s)
    # A hair less, for what rounding does to the moments.
    lag_s = max(1, lags) * lately.step_s - 0.01
    before = usual
    for at, load in lately.loads[due.target.name]:
        if before.demand.at < at < begin:
            usual = usual.seen(load, at, lag_s)
    if lags or usual is before:
        return usual
    # How much of a departure is left so soon they do not tell: that is learned anew.
    return usual._replace(demand=usual.demand._replace(pairs=0.0, persistence=1.0, past=()))


def _needed_s(due: Due, now: float) -> float:
    """Seconds of the past that what is remembered of signals depends on."""
    back = look_back(due.target, Survival.SEEN)
    return _since_s(
        due, min(back, max(2 * LOOK_BACK_S, due.target.fallback_after, _near_s(due))), now
    )


def _allowance(due: Due) -> float:
    """How far the number wanted may have been above demand."""
    there = lasting(due.seen, _near_s(due) * 2.0)
    return 1.0 + 2.0 * headroom(due.seen, due.target, there)


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
    return memory._replace(hours=hours, outlook=forecast(hours, present))


def _from_first_known(seen: Seen) -> Seen:
    for index, (_, observation) in enumerate(seen):
        seen_then = observation.waiting, observation.in_flight, observation.idle
        own = (signal for _, signal in observation.extra)
        if any(isinstance(signal, Known) for signal in (*seen_then, *own)):
            return seen[index:]
    return []
