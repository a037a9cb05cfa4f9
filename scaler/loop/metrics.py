"""The scaler's metrics. docs/metrics.md is made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Info
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from scaler.loop.containment import Containment, LoopPart
from scaler.loop.history import History
from scaler.loop.target_metrics import TargetMetrics
from scaler.loop.target_state import TargetState


class Shown(Protocol):
    """The loop, as far as metrics show it."""

    contained: Containment
    history: History

    def states(self) -> Sequence[TargetState]:
        """All targets."""


class ScalerMetrics:
    """Of the control loop, in a registry of their own."""

    def __init__(self, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        Info("autoscaler_scaler_build", "Version of the scaler.", registry=registry).info(
            {"version": version}
        )
        self._loop: Shown | None = None
        registry.register(TargetMetrics(self._states))
        registry.register(_PartMetrics(self._contained))
        registry.register(_HistoryMetrics(self._dropped))
        self.cycles = 0
        """How many have ended."""
        self._cycle_at = Gauge(
            "autoscaler_last_cycle_timestamp_seconds",
            "When the loop last ended a cycle.",
            registry=registry,
        )
        self._reload = Gauge(
            "autoscaler_config_last_reload_successful",
            "1 while the newest configuration is in force, 0 while it is refused.",
            registry=registry,
        )
        self._refused = Counter(
            "autoscaler_config_reload_failures",
            "Configurations that were refused while the scaler ran.",
            registry=registry,
        )
        self._cycle_s = Gauge(
            "autoscaler_cycle_duration_seconds", "Time that a cycle took.", registry=registry
        )

    def show(self, loop: Shown) -> None:
        """Show what this loop holds from now on."""
        self._loop = loop

    def reloaded(self, *, ok: bool) -> None:
        """A configuration was taken into force, or refused."""
        self._reload.set(ok)
        self._refused.inc(not ok)

    def cycled(self, now: float, took_s: float) -> None:
        """The loop has ended a cycle at `now` (epoch seconds)."""
        self.cycles += 1
        self._cycle_at.set(now)
        self._cycle_s.set(took_s)

    def _states(self) -> Sequence[TargetState]:
        return () if self._loop is None else self._loop.states()

    def _dropped(self) -> int:
        return 0 if self._loop is None else self._loop.history.dropped

    def _contained(self) -> Containment:
        return Containment() if self._loop is None else self._loop.contained


class _PartMetrics(Collector):
    """What fails beside the deciding."""

    def __init__(self, contained: Callable[[], Containment]) -> None:
        self._contained = contained

    def describe(self) -> list[Metric]:
        """Nothing is promised beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """By part, those that have never failed too."""
        contained = self._contained()
        parts = ", ".join(LoopPart)
        failures = CounterMetricFamily(
            "autoscaler_part_failures",
            f"Failures that the loop went on after, by part: {parts}.",
            labels=("part",),
        )
        failing = GaugeMetricFamily(
            "autoscaler_part_failing",
            "Of how many things a part of the loop fails now (targets, listeners).",
            labels=("part",),
        )
        now = contained.failing()
        for part, count in contained.failures().items():
            failures.add_metric((part,), count)
            failing.add_metric((part,), now[part])
        yield from (failures, failing)


class _HistoryMetrics(Collector):
    """What the history could not keep."""

    def __init__(self, dropped: Callable[[], int]) -> None:
        self._dropped = dropped

    def describe(self) -> list[Metric]:
        """Nothing is promised beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Since the start."""
        text = "Decisions that no room was left for while the history could not be written."
        yield CounterMetricFamily("autoscaler_history_dropped", text, value=self._dropped())
