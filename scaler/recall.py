"""What a restarted scaler remembers: its own last memory, completed from Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

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

_RECORDED = {
    "waiting": "queue:jobs_waiting:max",
    "in_flight": "queue:jobs_in_flight:max",
    "rate5m": "queue:job_arrivals:rate5m",
    "rate10m": "queue:job_arrivals:rate10m",
    "burstiness": "queue:job_arrivals:dispersion10m",
    "mean_duration": "queue:job_duration_seconds:mean1h",
    "startup": "queue:worker_startup_seconds:mean1h",
}


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
        start = now - min(_LONGEST_S, 2 * keep_idle_for(target.startup_seconds) + 300)
        if last is not None and last.at is not None:
            start = max(start, last.at)
        queue = f"{{queue={quoted(target.queue)}}}"
        series = {
            name: self._series(f"max({query}{queue})", start, now)
            for name, query in _RECORDED.items()
        }
        decided = self._series(
            f"max(autoscaler_target_replicas{{target={quoted(target.name)}}})", start, now
        )
        return rebuild(
            [(at, _observation(series, at)) for at in sorted(series["waiting"])],
            target,
            last=last,
            decided=[(at, int(decided[at])) for at in sorted(decided)],
        )

    def _series(self, query: str, start: float, end: float) -> dict[float, float]:
        found = self._prometheus.matrix(query, start, end, _STEP_S)
        return dict(found[0][1]) if found else {}


def _observation(series: Mapping[str, Mapping[float, float]], at: float) -> Observation:
    """What was known at that time; the orchestrator's part is not recorded."""

    def signal(name: str) -> Signal:
        value = series[name].get(at)
        return Unknown("not recorded", "") if value is None else Known(value, 0.0, "")

    rates = [series[name][at] for name in ("rate5m", "rate10m") if at in series[name]]
    return Observation(
        waiting=signal("waiting"),
        in_flight=signal("in_flight"),
        busy=signal("in_flight"),
        idle=Unknown("not recalled", ""),
        arrival_rate=Known(max(rates), 0.0, "") if rates else Unknown("not recorded", ""),
        burstiness=signal("burstiness"),
        mean_duration=signal("mean_duration"),
        startup=signal("startup"),
        fleet=None,
    )
