"""Readings into metric families. Pure: what was not read makes no family."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from common.records import (
    DURATION_BUCKETS,
    STARTUP_BUCKETS,
    WAIT_BUCKETS,
    Histogram,
    Outcome,
    QueueCounters,
)
from exporter import catalog
from exporter.amqp import Depth
from exporter.fleet import Member, counts, in_flight, stranded
from exporter.selection import QueueName
from exporter.sources import Reading

DEAD_SUFFIX = ".dead"


def queue_families(depths: Mapping[QueueName, Depth]) -> Iterator[Family]:
    """Depth and consumers of every queue that was read, and the parked jobs beside it."""
    ready, consumers = catalog.QUEUE_READY.gauge(), catalog.QUEUE_CONSUMERS.gauge()
    parked = catalog.JOBS_PARKED.gauge()
    for queue, depth in depths.items():
        owner = queue.name.removesuffix(DEAD_SUFFIX)
        if owner != queue.name:
            parked.add_metric((queue.vhost, owner), depth.ready)
            continue
        ready.add_metric((queue.vhost, queue.name), depth.ready)
        consumers.add_metric((queue.vhost, queue.name), depth.consumers)
    yield from (ready, consumers, parked)


def fleet_families(fleet: Sequence[Member], queues: Iterable[str]) -> Iterator[Family]:
    """Workers and jobs in flight. Every one of `queues` is there, if only with zeros."""
    by_queue: dict[str, list[Member]] = {queue: [] for queue in queues}
    for member in fleet:
        by_queue.setdefault(member.record.queue, []).append(member)
    flying, lost, workers = (
        metric.gauge() for metric in (catalog.IN_FLIGHT, catalog.STRANDED, catalog.WORKERS)
    )
    for queue, crew in sorted(by_queue.items()):
        flying.add_metric((queue,), in_flight(crew))
        lost.add_metric((queue,), stranded(crew))
        for state, count in counts(crew).items():
            workers.add_metric((queue, state), count)
    yield from (flying, lost, workers)
    yield from _worker_families(fleet)


def _worker_families(fleet: Sequence[Member]) -> Iterator[Family]:
    state, since = catalog.WORKER_STATE.gauge(), catalog.WORKER_SINCE.gauge()
    seen, progress = catalog.WORKER_SEEN.gauge(), catalog.WORKER_PROGRESS.gauge()
    for member in fleet:
        record = member.record
        labels = (record.queue, record.id)
        place = (record.node, record.task, record.slot)
        state.add_metric((*labels, member.state, *place), 1)
        since.add_metric(labels, member.since.timestamp())
        seen.add_metric(labels, record.last_seen.timestamp())
        if record.has_job:
            progress.add_metric(labels, record.progress)
    yield from (state, since, seen, progress)


def counter_families(counters: Iterable[QueueCounters], queues: Iterable[str]) -> Iterator[Family]:
    """The ledger's totals.

    A queue that the ledger answered for and has no entry of has had no events: 0 is the truth
    there, and lets rates see the first event.
    """
    totals = {queue: QueueCounters(queue) for queue in queues}
    totals.update((total.queue, total) for total in counters)
    started, again = catalog.JOBS_STARTED.counter(), catalog.JOBS_REDELIVERED.counter()
    ended = catalog.JOBS.counter()
    duration, wait = catalog.JOB_DURATION.histogram(), catalog.JOB_WAIT.histogram()
    startup = catalog.WORKER_STARTUP.histogram()
    for queue, total in sorted(totals.items()):
        started.add_metric((queue,), total.started)
        again.add_metric((queue,), total.redelivered)
        for outcome in Outcome:
            ended.add_metric((queue, str(outcome)), total.outcomes.get(outcome, 0))
        _add(duration, queue, total.duration, DURATION_BUCKETS)
        _add(wait, queue, total.wait, WAIT_BUCKETS)
        _add(startup, queue, total.startup, STARTUP_BUCKETS)
    yield from (started, again, ended, duration, wait, startup)


def _add(
    family: HistogramMetricFamily, queue: str, histogram: Histogram, bounds: Sequence[float]
) -> None:
    empty = tuple((float(bound), 0) for bound in (*bounds, float("inf")))
    buckets = histogram.buckets or empty
    rows = [(_le(bound), float(count)) for bound, count in buckets]
    family.add_metric((queue,), rows, sum_value=histogram.sum)


def _le(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else str(float(bound))


def threshold_family(values: Mapping[str, float]) -> Family:
    """The alert thresholds in force."""
    family = catalog.THRESHOLD.gauge()
    for alert, value in values.items():
        family.add_metric((alert,), value)
    return family


def source_families(readings: Mapping[str, Reading[Any]]) -> Iterator[Family]:
    """Whether each source answered, and how long it took."""
    up, duration = catalog.SOURCE_UP.gauge(), catalog.SOURCE_DURATION.gauge()
    for name, reading in readings.items():
        up.add_metric((name,), 0 if reading.error else 1)
        duration.add_metric((name,), reading.duration_s)
    yield from (up, duration)
