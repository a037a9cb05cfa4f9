"""What a restarted scaler remembers: its own last memory, completed from Prometheus."""

from __future__ import annotations

from common.logs import get
from scaler.decision import Memory
from scaler.observation import Known, Observation, Signal, Unknown
from scaler.policy import keep_idle_for, rebuild
from scaler.promql import Prometheus, PrometheusError, quoted
from scaler.targets import Target

_log = get("recall")
_STEP_S = 1.0
# The longest that a range query of one-second steps may span: 11,000 points is Prometheus' limit.
_LONGEST_S = 3600.0


class Recall:
    """Rebuilds memories at the start of the scaler."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus

    def __call__(self, target: Target, last: Memory | None, now: float) -> Memory:
        """The memory that an unbroken run would have at `now` (epoch seconds).

        Without Prometheus it is `last` as it was, or an empty one: the first decisions then
        hold what runs.
        """
        try:
            return self._rebuilt(target, last, now)
        except PrometheusError as error:
            _log.warning("windows not rebuilt", target=target.name, reason=str(error))
            return last or Memory()

    def _rebuilt(self, target: Target, last: Memory | None, now: float) -> Memory:
        span_s = min(_LONGEST_S, 2 * keep_idle_for(target.startup_seconds) + 300)
        start = now - span_s
        where = f"queue={quoted(target.queue)}"
        waiting = self._series(f"max(queue:jobs_waiting:max{{{where}}})", start, now)
        flight = self._series(f"max(queue:jobs_in_flight:max{{{where}}})", start, now)
        decided = self._series(
            f"max(autoscaler_target_replicas{{target={quoted(target.name)}}})", start, now
        )
        if last is None and decided:
            last = Memory(at=max(decided), target=int(decided[max(decided)]))
        samples = [
            (at, _observation(waiting[at], flight[at])) for at in sorted(waiting) if at in flight
        ]
        return rebuild(samples, target, last=last)

    def _series(self, query: str, start: float, end: float) -> dict[float, float]:
        found = self._prometheus.matrix(query, start, end, _STEP_S)
        return dict(found[0][1]) if found else {}


def _observation(waiting: float, in_flight: float) -> Observation:
    unknown: Signal = Unknown("not recalled", "")
    flight = Known(in_flight, 0.0, "")
    return Observation(
        waiting=Known(waiting, 0.0, ""),
        in_flight=flight,
        busy=flight,
        idle=unknown,
        arrival_rate=unknown,
        burstiness=unknown,
        mean_duration=unknown,
        startup=unknown,
        fleet=None,
    )
