"""A load of any size whose every value follows from the time, for the past as for the present."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from common.records import (
    DURATION_BUCKETS,
    STARTUP_BUCKETS,
    WAIT_BUCKETS,
    Histogram,
    Outcome,
    QueueCounters,
)

JOB_S, STARTUP_S = 30.0, 8.0
_WAVE_S = 600.0
_DAY_S = 86_400.0
SCRAPED_S = 5
"""Seconds between scrapes."""
# Between the samples of a rule, as shipped.
_RECORDED_S = 5


@dataclass(frozen=True, slots=True)
class Load:
    """So many queues with so many workers each, half to most of which are busy, in a slow wave."""

    queues: int
    workers: int
    began: float
    """Epoch seconds at which all totals were 0."""

    @classmethod
    def running_since_yesterday(cls, queues: int, workers: int, now: float) -> Load:
        """With totals of a day."""
        return cls(queues, workers, now - _DAY_S)

    def name(self, number: int) -> str:
        """Of a queue, and of its target."""
        return f"bench-{number:04}"

    def busy(self, number: int, at: float) -> int:
        """Workers of a queue that have a job."""
        wave = math.sin(2 * math.pi * (at / _WAVE_S + number / self.queues))
        return round(self.workers * (0.6 + 0.2 * wave))

    def waiting(self, number: int, at: float) -> int:
        """Jobs in a queue."""
        return (int(at) // 10 + number) % 4

    @property
    def rate(self) -> float:
        """Jobs a second of each queue."""
        return 0.6 * self.workers / JOB_S

    def started(self, at: float) -> int:
        """Jobs of each queue that have begun."""
        return int((at - self.began) * self.rate)

    def totals(self, number: int, at: float) -> QueueCounters:
        """What the ledger has counted of a queue."""
        begun = self.started(at)
        done = begun - self.busy(number, at)
        return QueueCounters(
            self.name(number),
            started=begun,
            outcomes={Outcome.DONE: done},
            duration=_spread(DURATION_BUCKETS, done, JOB_S),
            wait=_spread(WAIT_BUCKETS, begun, 2.0),
            startup=_spread(STARTUP_BUCKETS, 10 * self.workers, STARTUP_S),
            vhost="/",
        )


def _spread(bounds: tuple[float, ...], count: int, mean: float) -> Histogram:
    """An exponential one."""
    rows = [(float(bound), int(count * (1 - math.exp(-bound / mean)))) for bound in bounds]
    return Histogram((*rows, (math.inf, count)), count * mean)


Value = Callable[[int, int], float]


@dataclass(frozen=True, slots=True)
class _Series:
    """One for each queue, in the past."""

    name: str
    labels: str
    """Beside the queue's own; `{}` stands for that name."""
    step_s: int
    value: Value


def write_past(load: Load, path: Path, end: float, length_s: int) -> int:
    """Write, as OpenMetrics, what a Prometheus with the shipped rules would have recorded up to
    `end` of what a scaler reads, and of what rules need to go on; how many samples that is.

    Workers one by one are not in it: no scaler asks for those of the past.
    """
    last, count = int(end), 0
    with path.open("w") as file:
        for series in _series(load):
            file.write(f"# TYPE {series.name} unknown\n")
            times = range(last - length_s, last, series.step_s)
            for number in range(load.queues):
                head = f"{series.name}{{{series.labels.format(load.name(number))}}}"
                rows = [f"{head} {series.value(number, at):.6g} {at}\n" for at in times]
                file.write("".join(rows))
                count += len(rows)
        file.write("# EOF\n")
    return count


def _series(load: Load) -> Iterator[_Series]:
    exporter = 'queue="{}",job="exporter",instance="past"'
    scaler = 'target="{}",job="scaler",instance="past"'
    recorded = 'queue="{}"'
    busy, waiting, workers = load.busy, load.waiting, load.workers
    scraped: tuple[tuple[str, str, Value], ...] = (
        ("rabbitmq_queue_messages_ready", f'{exporter},vhost="/"', waiting),
        ("autoscaler_jobs_in_flight", exporter, busy),
        ("autoscaler_workers", f'{exporter},state="idle"', lambda n, at: workers - busy(n, at)),
        ("autoscaler_target_replicas", scaler, lambda n, at: busy(n, at) + waiting(n, at)),
        ("autoscaler_replicas", f'{scaler},state="running"', lambda *_: workers),
    )
    for name, labels, value in scraped:
        yield _Series(name, labels, SCRAPED_S, value)
    done: Value = lambda n, at: load.started(at) - busy(n, at)  # noqa: E731
    slow: tuple[tuple[str, str, Value], ...] = (
        ("autoscaler_jobs_started_total", exporter, lambda _, at: load.started(at)),
        ("autoscaler_job_duration_seconds_sum", exporter, lambda n, at: done(n, at) * JOB_S),
        ("autoscaler_job_duration_seconds_count", exporter, done),
        ("queue:jobs_demand:sum", recorded, lambda n, at: busy(n, at) + waiting(n, at)),
        ("queue:job_arrivals:rate5m", recorded, lambda *_: load.rate),
        ("queue:job_arrivals:rate10m", recorded, lambda *_: load.rate),
        ("queue:job_arrivals:rate1m", recorded, lambda *_: load.rate),
        ("queue:job_arrivals:dispersion10m", recorded, lambda *_: 1.0),
        ("queue:job_duration_seconds:mean1h", recorded, lambda *_: JOB_S),
        ("queue:worker_startup_seconds:mean1h", recorded, lambda *_: STARTUP_S),
    )
    for name, labels, value in slow:
        yield _Series(name, labels, _RECORDED_S, value)
