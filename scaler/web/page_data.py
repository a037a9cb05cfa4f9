"""What the page shows beyond decisions, asked of Prometheus at most once per refresh interval."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from scaler.policy.target import Target
from scaler.prometheus.client import Prometheus, PrometheusError, quoted
from scaler.web.models import Alert

RANGES = {"10m": 600.0, "1h": 3600.0, "24h": 86_400.0}
"""Spans of the chart by name, in seconds."""
_POINTS = 240
_KINDS = {
    "progress": "autoscaler_worker_job_progress_ratio",
    "seen": "autoscaler_worker_last_seen_seconds",
    "parked": "autoscaler_jobs_parked",
    "job": "autoscaler_worker_job_info",
}
_EXTRAS = " or ".join(
    f'label_replace({metric}, "kind", "{kind}", "", "")' for kind, metric in _KINDS.items()
)
_ALERTS = 'ALERTS{alertstate="firing",severity!="none"}'
_PLAIN_LABELS = frozenset(
    ("__name__", "alertname", "alertstate", "severity", "service", "job", "instance", "replica")
)
_KEPT_ANSWERS = 512

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Extras:
    """Of all queues: progress, last heartbeat and job id by (queue, worker), parked jobs by
    queue. Not every job is named, see docs/adr/0055."""

    progress: Mapping[tuple[str, str], float] = field(default_factory=dict)
    seen: Mapping[tuple[str, str], float] = field(default_factory=dict)
    parked: Mapping[str, float] = field(default_factory=dict)
    jobs: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Series:
    """Values by name from `start` (epoch seconds) on, one per `step_s`."""

    start: float
    step_s: float
    values: Mapping[str, list[float | None]]


class PageData:
    """Safe for use from several threads. What cannot be asked now is as it last was."""

    def __init__(
        self, prometheus: Prometheus, refresh_s: float, clock: Callable[[], float]
    ) -> None:
        self._prometheus = prometheus
        self.refresh_s = refresh_s
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[object, tuple[float, object]] = {}
        self._answered_at: float | None = None
        self.error: str | None = None
        """Why Prometheus could not be asked the last time, else None."""

    @property
    def silent_since(self) -> float | None:
        """When Prometheus last answered, None while it does or when it never has."""
        return None if self.error is None else self._answered_at

    def extras(self) -> Extras:
        """Of all workers and queues."""
        return self._fresh("extras", self._extras, Extras())

    def alerts(self) -> list[Alert]:
        """Those that fire, the worst first."""
        nothing: list[Alert] = []
        return self._fresh("alerts", self._alerts, nothing)

    def series(self, target: Target, span: str) -> Series:
        """Of one target over a span of RANGES."""
        nothing = Series(self._clock(), 1.0, {})
        return self._fresh((target.name, span), lambda: self._series(target, span), nothing)

    def _fresh(self, key: object, ask: Callable[[], Answer], nothing: Answer) -> Answer:
        with self._lock:
            now = self._clock()
            at, kept = self._answers.get(key, (float("-inf"), nothing))
            if now - at < self.refresh_s:
                return kept  # type: ignore[return-value]  # of this key, so of this type
            try:
                kept = ask()
                self.error, self._answered_at = None, now
            except PrometheusError as error:
                self.error = str(error)
            if len(self._answers) >= _KEPT_ANSWERS:
                self._answers.clear()
            self._answers[key] = (now, kept)
            return kept  # type: ignore[return-value]  # of this key, so of this type

    def _extras(self) -> Extras:
        extras: dict[str, dict[tuple[str, str], float]] = {kind: {} for kind in _KINDS}
        jobs: dict[tuple[str, str], str] = {}
        for sample in self._prometheus.vector(_EXTRAS):
            label = sample.labels.get
            key, kind = (label("queue", ""), label("worker", "")), label("kind", "")
            if kind == "job":
                jobs[key] = label("job_id", "")
            elif math.isfinite(sample.value):
                extras[kind][key] = sample.value
        parked = {queue: count for (queue, _), count in extras["parked"].items()}
        return Extras(extras["progress"], extras["seen"], parked, jobs)

    def _alerts(self) -> list[Alert]:
        found = {_alert(sample.labels) for sample in self._prometheus.vector(_ALERTS)}
        return [
            Alert(name=name, severity=severity, about=about)
            for severity, name, about in sorted(found)
        ]

    def _series(self, target: Target, span: str) -> Series:
        seconds = RANGES[span]
        step = seconds / _POINTS
        end = self._clock() // step * step
        start = end - seconds
        values: dict[str, list[float | None]] = {}
        for labels, points in self._prometheus.matrix(chart_query(target, step), start, end, step):
            row: list[float | None] = [None] * (_POINTS + 1)
            for at, value in points:
                row[min(_POINTS, max(0, round((at - start) / step)))] = value
            values[labels.get("series", "")] = row
        return Series(start, step, values)


def chart_query(target: Target, step_s: float) -> str:
    """PromQL of all the chart's series; each step shows the most that there was in it."""
    queue, name = f"queue={quoted(target.queue)}", f"target={quoted(target.name)}"
    selectors = {
        "waiting": f"queue:jobs_waiting:max{{{queue}}}",
        "in_flight": f"queue:jobs_in_flight:max{{{queue}}}",
        # Not the sum of the two: their highest values within a step need not have met.
        "demand": f"queue:jobs_demand:sum{{{queue}}}",
        "workers": f'autoscaler_replicas{{{name},state="running"}}',
        "target": f"autoscaler_target_replicas{{{name}}}",
        "min": f"autoscaler_target_min_replicas{{{name}}}",
        "max": f"autoscaler_target_max_replicas{{{name}}}",
    }
    span = max(1, round(step_s))
    return " or ".join(
        f'label_replace(max(max_over_time({selector}[{span}s])), "series", "{series}", "", "")'
        for series, selector in selectors.items()
    )


def _alert(labels: Mapping[str, str]) -> tuple[str, str, str]:
    about = ", ".join(
        f"{name} {value}" for name, value in sorted(labels.items()) if name not in _PLAIN_LABELS
    )
    return labels.get("severity", ""), labels.get("alertname", ""), about
