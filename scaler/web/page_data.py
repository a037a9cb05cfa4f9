"""What the page shows beyond decisions, asked of Prometheus as seldom as it can change."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from common.bounded import Recent
from scaler.policy.decision import ProposalKind
from scaler.policy.target import Target
from scaler.prometheus.client import Prometheus, PrometheusError, quoted
from scaler.web.models import Alert

RANGES = {"10m": 600.0, "1h": 3600.0, "24h": 86_400.0}
"""Spans of the chart by name, in seconds."""
_POINTS = 240
# Samples and rules come in late; what lies further back than this does not change any more.
_SETTLED_S = 60.0
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
# More than there can be pages, each of which looks at one target over one span.
_KEPT_ANSWERS = 128

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

    @property
    def end(self) -> float:
        """Epoch seconds of the last value."""
        return self.start + _POINTS * self.step_s


@dataclass(slots=True)
class _Kept:
    """An answer, and when to ask again."""

    answer: Any = None
    due_at: float = float("-inf")
    """Monotonic seconds."""
    asks: threading.Lock = field(default_factory=threading.Lock)
    """Held by who asks; the others take what there is meanwhile."""


class PageData:
    """Safe for use from several threads. What cannot be asked now is as it last was."""

    def __init__(
        self,
        prometheus: Prometheus,
        refresh_s: float,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` says of which time to ask, `monotonic` when to ask again."""
        self._prometheus = prometheus
        self.refresh_s = refresh_s
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: Recent[Hashable, _Kept] = Recent(_KEPT_ANSWERS)
        self._answered_at: float | None = None
        self.error: str | None = None
        """Why Prometheus could not be asked the last time, else None."""

    @property
    def silent_since(self) -> float | None:
        """When Prometheus last answered, None while it does or when it never has."""
        return None if self.error is None else self._answered_at

    def extras(self) -> Extras:
        """Of all workers and queues, at most a refresh interval old."""
        return self._fresh("extras", lambda _: (self._extras(), 0.0), Extras())

    def alerts(self) -> list[Alert]:
        """Those that fire, the worst first, at most a refresh interval old."""
        nothing: list[Alert] = []
        return self._fresh("alerts", lambda _: (self._alerts(), 0.0), nothing)

    def series(self, target: Target, span: str) -> Series:
        """Of one target over a span of RANGES, at most a step and a refresh interval old."""
        step = RANGES[span] / _POINTS
        nothing = Series(self._clock() // step * step - RANGES[span], step, {})
        key = target.name, target.queue, span
        return self._fresh(key, lambda before: self._series(target, span, before), nothing)

    def _fresh(
        self,
        key: Hashable,
        ask: Callable[[Answer | None], tuple[Answer, float]],
        nothing: Answer,
    ) -> Answer:
        """The answer kept under `key`, or that of `ask`, which is given what was kept and says for
        how long its answer is good."""
        kept = self._of(key)
        if self._monotonic() >= kept.due_at and kept.asks.acquire(blocking=kept.answer is None):
            try:
                # Another may have asked while we waited.
                if self._monotonic() >= kept.due_at:
                    self._ask(kept, ask)
            finally:
                kept.asks.release()
        return nothing if kept.answer is None else kept.answer

    def _of(self, key: Hashable) -> _Kept:
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                kept = _Kept()
                self._kept.put(key, kept)
            return kept

    def _ask(self, kept: _Kept, ask: Callable[[Any], tuple[Any, float]]) -> None:
        good_s = 0.0
        try:
            kept.answer, good_s = ask(kept.answer)
            self.error, self._answered_at = None, self._clock()
        except PrometheusError as error:
            self.error = str(error)
        kept.due_at = self._monotonic() + max(self.refresh_s, good_s)

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

    def _series(self, target: Target, span: str, before: Series | None) -> tuple[Series, float]:
        """With what is settled of `before`; good until the next step is over."""
        step, now = RANGES[span] / _POINTS, self._clock()
        end = now // step * step
        start, since = end - RANGES[span], end - RANGES[span]
        values: dict[str, list[float | None]] = {}
        if before is not None and start < before.end <= end:
            moved = round((start - before.start) / step)
            since = max(start, before.end - math.ceil(_SETTLED_S / step) * step)
            settled = round((since - start) / step)
            for name, row in before.values.items():
                values[name] = row[moved : moved + settled] + [None] * (_POINTS + 1 - settled)
        for labels, points in self._prometheus.matrix(chart_query(target, step), since, end, step):
            row = values.setdefault(labels.get("series", ""), [None] * (_POINTS + 1))
            for at, value in points:
                row[min(_POINTS, max(0, round((at - start) / step)))] = value
        known = {name: row for name, row in values.items() if any(v is not None for v in row)}
        return Series(start, step, known), end + step - now


def chart_query(target: Target, step_s: float) -> str:
    """PromQL of all the chart's series; each step shows the most that there was in it."""
    queue, name = f"queue={quoted(target.queue)}", f"target={quoted(target.name)}"
    selectors = {
        "waiting": f"queue:jobs_waiting:max{{{queue}}}",
        "in_flight": f"queue:jobs_in_flight:max{{{queue}}}",
        # Not the sum of the two: their highest values within a step need not have met.
        "demand": f"queue:jobs_demand:sum{{{queue}}}",
        "usual": f'autoscaler_proposal_replicas{{{name},proposal="{ProposalKind.USUAL}"}}',
        "expected": f'autoscaler_proposal_replicas{{{name},proposal="{ProposalKind.EXPECTED}"}}',
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
