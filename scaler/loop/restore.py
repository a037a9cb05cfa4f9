"""What a restarted scaler remembers: its own last memory, completed from Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from common.logs import get
from scaler.policy.forecast import HOUR_S, KEPT_HOURS, forecast
from scaler.policy.memory import Memory, Survival, look_back
from scaler.policy.observation import Known, Observation
from scaler.policy.remember import rebuild
from scaler.policy.target import Target
from scaler.prometheus.client import Prometheus, PrometheusError, quoted
from scaler.prometheus.signals import Signals

_log = get("restore")
# Prometheus gives at most 11,000 points an answer.
_MOST_POINTS = 10_000


class Restore:
    """Rebuilds memories at the start of the scaler."""

    def __init__(self, prometheus: Prometheus, *, interval_s: float = 1.0) -> None:
        """`interval_s` is the time between decisions, which lie that far apart in the past too."""
        self._prometheus = prometheus
        self._signals = Signals(prometheus)
        self._interval_s = round(interval_s, 3)

    def __call__(self, target: Target, last: Memory | None, now: float) -> Memory:
        """The memory that an unbroken run would have at `now` (epoch seconds).

        `last` is what was kept of it; orders of people are in nothing else. Without Prometheus
        it is `last` as it was, or an empty one: the first decisions then hold what runs.
        """
        memory = last or Memory()
        try:
            memory = self._rebuilt(target, last, now)
            return self._with_hours(target, memory, now) if target.forecast else memory
        except PrometheusError as error:
            _log.warning("the past is not known", target=target.name, reason=str(error))
            return memory

    def _rebuilt(self, target: Target, last: Memory | None, now: float) -> Memory:
        since = None if last is None else last.at
        times = self._times(look_back(target, Survival.SEEN), since, now)
        seen = self._signals.observe_past(target, times, self._interval_s)
        if last is None:
            seen = _from_first_known(seen)
        times = self._times(look_back(target, Survival.DECIDED), since, now)
        return rebuild(seen, target, last=last, decided=self._decided(target, times))

    def _times(self, length_s: float, since: float | None, now: float) -> list[float]:
        """When it was decided in the time before `now`, after `since`, oldest first."""
        if since is not None:
            length_s = min(length_s, now - since)
        count = min(int(length_s / self._interval_s), _MOST_POINTS)
        return [round(now - back * self._interval_s, 3) for back in range(count, 0, -1)]

    def _decided(self, target: Target, times: list[float]) -> list[tuple[float, int]]:
        """What was decided when; before it the fleet that the first decision found."""
        where = f"target={quoted(target.name)}"
        decided = self._numbers(f"max(autoscaler_target_replicas{{{where}}})", times)
        found = self._numbers(f'max(autoscaler_replicas{{{where},state="running"}})', times)
        return [*found[:1], *decided]

    def _numbers(self, query: str, times: list[float]) -> list[tuple[float, int]]:
        if not times:
            return []
        series = self._prometheus.matrix(query, times[0], times[-1], self._interval_s)
        return [(at, int(number)) for _, points in series for at, number in points]

    def _with_hours(self, target: Target, memory: Memory, now: float) -> Memory:
        """`memory` with the hours that the forecast looks at."""
        present = int(now // HOUR_S)
        hours = memory.hours.refilled(self._hours(target, present), present)
        return replace(memory, hours=hours, outlook=forecast(hours, present))

    def _hours(self, target: Target, present: int) -> Mapping[int, float]:
        """Mean demand of the finished hours, by their index."""
        query = f"max(avg_over_time(queue:jobs_demand:sum{{queue={quoted(target.queue)}}}[1h]))"
        # Just before the next hour begins, whose first sample is not of this one.
        first, last = ((hour + 1) * HOUR_S - 0.001 for hour in (present - KEPT_HOURS, present - 1))
        found = self._prometheus.matrix(query, first, last, HOUR_S)
        return {int(at // HOUR_S): mean for _, points in found for at, mean in points}


def _from_first_known(seen: list[tuple[float, Observation]]) -> list[tuple[float, Observation]]:
    """Without the time before anything was recorded, when nobody decided."""
    for index, (_, observation) in enumerate(seen):
        if any(isinstance(signal, Known) for _, signal in observation.inputs()):
            return seen[index:]
    return []
