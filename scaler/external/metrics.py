"""Metrics of the gRPC service: of its calls, of its queries, and of each ScaledObject."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_FORGET_S = 600.0
_SWEEP_EVERY_S = 1.0
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 2.5)
_CALL = ("grpc_type", "grpc_service", "grpc_method")


class ServerMetrics:
    """The `grpc_server_*` family as other gRPC servers name it, and what is asked of Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.started = Counter("grpc_server_started", "RPCs begun.", _CALL, registry=registry)
        self.handled = Counter(
            "grpc_server_handled",
            "RPCs ended, by status code.",
            (*_CALL, "grpc_code"),
            registry=registry,
        )
        self.received = Counter(
            "grpc_server_msg_received", "Messages received.", _CALL, registry=registry
        )
        self.sent = Counter("grpc_server_msg_sent", "Messages sent.", _CALL, registry=registry)
        self.seconds = Histogram(
            "grpc_server_handling_seconds",
            "From an RPC's beginning to its end.",
            _CALL,
            buckets=_SECONDS,
            registry=registry,
        )
        self.streams = Gauge(
            "autoscaler_keda_streams", "Streams open.", ("method",), registry=registry
        )
        self.upstream = Counter(
            "autoscaler_keda_upstream_queries",
            "Queries sent to Prometheus, by outcome: ok, unknown, failed.",
            ("outcome",),
            registry=registry,
        )
        self.upstream_seconds = Histogram(
            "autoscaler_keda_upstream_seconds",
            "How long queries to Prometheus took.",
            buckets=_SECONDS,
            registry=registry,
        )

    def report(self, outcome: str, seconds: float) -> None:
        """Count one query to Prometheus."""
        self.upstream.labels(outcome).inc()
        self.upstream_seconds.observe(seconds)


@dataclass(slots=True)
class ObjectState:
    """What one ScaledObject was last answered about one metric."""

    value: float | None = None
    active: bool | None = None
    age_s: float = 0.0
    known: bool = False
    at: float = 0.0
    """Epoch seconds of the last call."""
    used_at: float = 0.0
    """The same in monotonic seconds."""
    logged: dict[str, object] = field(default_factory=dict)
    """By method: the answer that the access log had last."""


Key = tuple[str, str, str]
"""Namespace, name, metric."""


class Objects(Collector):
    """The state of each ScaledObject, at most `limit` of them; one that has not called for 10
    minutes is forgotten."""

    def __init__(
        self,
        limit: int,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._monotonic = monotonic
        self._states: dict[Key, ObjectState] = {}
        self._swept_at = -_SWEEP_EVERY_S
        self.untracked = 0
        """Calls of ScaledObjects beyond the limit."""

    def state(self, key: Key) -> ObjectState | None:
        """The state to keep up to date, or None beyond the limit."""
        state = self._states.get(key)
        if state is None:
            if len(self._states) >= self._limit:
                self._sweep()
            if len(self._states) >= self._limit:
                self.untracked += 1
                return None
            state = self._states[key] = ObjectState()
        state.at, state.used_at = self._clock(), self._monotonic()
        return state

    def _sweep(self) -> None:
        now = self._monotonic()
        # Not at every call while full.
        if now - self._swept_at < _SWEEP_EVERY_S:
            return
        self._swept_at = now
        # The values are copied first: calls come in from the event loop's thread meanwhile.
        for key, state in list(self._states.items()):
            if now - state.used_at > _FORGET_S:
                self._states.pop(key, None)

    def describe(self) -> list[Metric]:
        """Nothing is promised beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One sample a ScaledObject and metric; a value that is unknown is absent."""
        self._sweep()
        labels = ("namespace", "scaled_object", "metric")
        value = GaugeMetricFamily(
            "autoscaler_keda_value", "Last answer; absent while unknown.", labels=labels
        )
        active = GaugeMetricFamily(
            "autoscaler_keda_active", "1 when last answered active.", labels=labels
        )
        known = GaugeMetricFamily(
            "autoscaler_keda_known", "0 when the last call ended in an error.", labels=labels
        )
        age = GaugeMetricFamily(
            "autoscaler_keda_value_age_seconds", "Age of what was last answered.", labels=labels
        )
        asked = GaugeMetricFamily(
            "autoscaler_keda_last_call_timestamp_seconds", "When it last called.", labels=labels
        )
        for key, state in list(self._states.items()):
            known.add_metric(key, float(state.known))
            asked.add_metric(key, state.at)
            if state.known and state.value is not None:
                value.add_metric(key, state.value)
                age.add_metric(key, state.age_s)
            if state.known and state.active is not None:
                active.add_metric(key, float(state.active))
        yield from (value, active, known, age, asked)
        untracked = GaugeMetricFamily(
            "autoscaler_keda_objects_untracked",
            "Calls since the start of ScaledObjects beyond GRPC_MAX_OBJECTS.",
            value=self.untracked,
        )
        yield untracked
