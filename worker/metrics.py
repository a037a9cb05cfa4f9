"""The worker's own metrics, for those who scrape the worker itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from common.records import DURATION_BUCKETS, WAIT_BUCKETS, Outcome


class Metrics:
    """Counts what the handler reports, and measures the process and its renderer when scraped."""

    def __init__(
        self,
        *,
        renderer_pid: Callable[[], int | None],
        connected: Callable[[], bool],
        reachable: Callable[[], bool],
        waiting: Callable[[], int],
        in_vain: Callable[[], int],
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_ProcessMetrics(renderer_pid))
        self._ended = Counter(
            "autoscaler_worker_jobs", "Attempts ended.", ["outcome"], registry=self.registry
        )
        self._duration = Histogram(
            "autoscaler_worker_job_duration_seconds",
            "Time from taking a job to announcing its result, of done jobs.",
            buckets=DURATION_BUCKETS,
            registry=self.registry,
        )
        self._wait = Histogram(
            "autoscaler_worker_job_wait_seconds",
            "Time from publishing to taking a job, where the publisher gave a timestamp.",
            buckets=WAIT_BUCKETS,
            registry=self.registry,
        )
        self._quarantined = Counter(
            "autoscaler_worker_quarantined",
            "Messages parked unread, as nobody could handle them.",
            registry=self.registry,
        )
        self._busy = Gauge(
            "autoscaler_worker_busy", "1 while a job is in hand.", registry=self.registry
        )
        up = Gauge(
            "autoscaler_worker_connected",
            "1 while that neighbour answers: broker, ledger.",
            ["neighbour"],
            registry=self.registry,
        )
        up.labels("broker").set_function(lambda: float(connected()))
        up.labels("ledger").set_function(lambda: float(reachable()))
        outbox = Gauge(
            "autoscaler_worker_outbox_events",
            "Events that the ledger has not taken yet.",
            registry=self.registry,
        )
        outbox.set_function(lambda: float(waiting()))
        sessions = Gauge(
            "autoscaler_worker_broker_sessions_in_vain",
            "Sessions with the broker in a row that ended before anything was settled in them.",
            registry=self.registry,
        )
        sessions.set_function(lambda: float(in_vain()))
        for outcome in Outcome:
            self._ended.labels(outcome.value)

    def ended(self, outcome: Outcome, seconds: float | None = None) -> None:
        """An attempt has ended; `seconds` for one that made the video."""
        self._ended.labels(outcome.value).inc()
        if seconds is not None:
            self._duration.observe(seconds)

    def quarantined(self) -> None:
        """A message was parked unread."""
        self._quarantined.inc()

    def waited(self, seconds: float) -> None:
        """A job had waited that long when it was taken."""
        self._wait.observe(seconds)

    def busy(self, busy: bool) -> None:
        """Whether a job is in hand."""
        self._busy.set(float(busy))


class _ProcessMetrics(Collector):
    """CPU time and memory of the worker, and of the renderer with all that it started."""

    def __init__(self, renderer_pid: Callable[[], int | None]) -> None:
        self._renderer_pid = renderer_pid

    def collect(self) -> Iterable[Metric]:
        import psutil

        cpu = CounterMetricFamily(
            "autoscaler_worker_cpu_seconds",
            "CPU time, user and system. The renderer's begins anew with each job.",
            labels=["process"],
        )
        memory = GaugeMetricFamily(
            "autoscaler_worker_resident_memory_bytes", "Resident memory.", labels=["process"]
        )
        pid = self._renderer_pid()
        for name, number in (("worker", None), ("renderer", pid)):
            if name == "renderer" and number is None:
                continue
            try:
                process = psutil.Process(number)
                family = [process]
                if name == "renderer":
                    family += process.children(recursive=True)
                times = [p.cpu_times() for p in family]
                resident = [p.memory_info().rss for p in family]
            except psutil.Error:
                continue  # it has just ended
            cpu.add_metric([name], sum(t.user + t.system for t in times))
            memory.add_metric([name], sum(resident))
        yield cpu
        yield memory

    def describe(self) -> Iterable[Metric]:
        return []
