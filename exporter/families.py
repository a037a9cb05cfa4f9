"""Readings into metric families. Pure: what was not read makes no family."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from importlib.metadata import version
from typing import Any, NamedTuple

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from common.records import Histogram, Outcome, QueueCounters, WorkerRecord
from exporter import catalog
from exporter.depths import Depth
from exporter.management import Details
from exporter.members import UNHEALTHY, Member, counts, in_flight, stranded
from exporter.selection import DEAD_SUFFIX, QueueName
from exporter.sources import Reading
from exporter.thresholds import AlertSettings

_VERSION = version("rabbitreels-autoscaler")


class LedgerView(NamedTuple):
    """What the ledger holds at one moment."""

    fleet: Sequence[Member]
    counters: Sequence[QueueCounters]
    unnamed: Mapping[tuple[str, bool], int] = {}
    """Silent workers that are only counted, by queue and whether they have a job."""
    damaged_workers: Sequence[str] = ()
    damaged_totals: Sequence[str] = ()
    """Ids, and queues, whose entries can't be read."""
    mixed: Mapping[str, Sequence[str]] = {}
    """Queues whose fleets can't be told apart, and their virtual hosts."""

    def usable(self) -> LedgerView:
        """What is left without the queues whose fleets can't be told apart."""
        return self._replace(
            fleet=[member for member in self.fleet if member.record.queue not in self.mixed],
            counters=[total for total in self.counters if total.queue not in self.mixed],
            unnamed={key: n for key, n in self.unnamed.items() if key[0] not in self.mixed},
        )


class ScrapeReadings(NamedTuple):
    """What one scrape has read; None is what a source did not give."""

    depths: Mapping[QueueName, Depth] | None
    details: Mapping[QueueName, Details] | None
    ledger: LedgerView | None
    alerts: AlertSettings | None
    names: Set[str]
    """Of the queues that are read, without those of parked jobs."""
    named: Set[str]
    """Those that are configured by name."""


def families(seen: ScrapeReadings) -> Iterator[Family]:
    """All families of a scrape, but those about the scrape itself."""
    ledger, alerts = seen.ledger, seen.alerts
    if seen.depths is not None:
        yield from queue_families(seen.depths)
    if seen.details is not None:
        yield from detail_families(seen.details)
    if alerts is not None:
        yield from alert_families(alerts)
    if ledger is not None:
        yield from ledger_families(ledger, seen)


def ledger_families(ledger: LedgerView, seen: ScrapeReadings) -> Iterator[Family]:
    """What the ledger holds. Of queues that it can't be asked about nothing, not even a 0."""
    known = ledger.usable()
    names, named = seen.names - ledger.mixed.keys(), seen.named - ledger.mixed.keys()
    yield from fleet_families(known.fleet, names, named, known.unnamed)
    names, named = names - set(ledger.damaged_totals), named - set(ledger.damaged_totals)
    yield from counter_families(known.counters, names, named)
    if seen.alerts is not None:
        yield from slo_families(known.counters, named, seen.alerts.start_within_s)
    unused = catalog.LEDGER_UNUSED.family()
    unused.add_metric(("worker",), len(ledger.damaged_workers))
    unused.add_metric(("totals",), len(ledger.damaged_totals))
    unused.add_metric(("queue",), len(ledger.mixed))
    yield unused


def queue_families(depths: Mapping[QueueName, Depth]) -> Iterator[Family]:
    """Depth and consumers of every queue that was read, and the parked jobs beside it."""
    ready, consumers = catalog.QUEUE_READY.family(), catalog.QUEUE_CONSUMERS.family()
    parked = catalog.JOBS_PARKED.family()
    for queue, depth in depths.items():
        owner = queue.name.removesuffix(DEAD_SUFFIX)
        if owner != queue.name:
            parked.add_metric((queue.vhost, owner), depth.ready)
            continue
        ready.add_metric((queue.vhost, queue.name), depth.ready)
        consumers.add_metric((queue.vhost, queue.name), depth.consumers)
    yield from (ready, consumers, parked)


def detail_families(details: Mapping[QueueName, Details]) -> Iterator[Family]:
    """What the management API adds; a value that it did not give is absent."""
    unacked, head = catalog.QUEUE_UNACKED.family(), catalog.QUEUE_HEAD.family()
    memory = catalog.QUEUE_MEMORY.family()
    totals = {name: metric.family() for name, metric in _TOTALS.items()}
    for queue, known in details.items():
        labels = (queue.vhost, queue.name)
        for family, value in (
            (unacked, known.unacked),
            (head, known.head_timestamp),
            (memory, known.memory_bytes),
        ):
            if value is not None:
                family.add_metric(labels, value)
        for name, total in (known.totals or {}).items():
            totals[name].add_metric(labels, total)
    yield from (unacked, head, memory, *totals.values())


_TOTALS = {
    "publish": catalog.QUEUE_PUBLISHED,
    "deliver": catalog.QUEUE_DELIVERED_ACK,
    "deliver_no_ack": catalog.QUEUE_DELIVERED,
    "ack": catalog.QUEUE_ACKED,
    "redeliver": catalog.QUEUE_REDELIVERED,
}


# Each job is a series of its own for as long as it lasts. This many are few beside the four
# series of every worker, and people look for the job that takes long.
NAMED_JOBS = 100


def fleet_families(
    fleet: Sequence[Member],
    queues: Iterable[str],
    named: Iterable[str],
    unnamed: Mapping[tuple[str, bool], int],
) -> Iterator[Family]:
    """Workers and jobs in flight; the `unnamed` are silent and have no series of their own.

    No worker with a job of a queue is 0 jobs in flight: the ledger answered. Zeros by state are
    given for the `named` queues only, as `queues` may be ten thousand.
    """
    by_queue: dict[str, list[Member]] = {queue: [] for queue in (*named, *(q for q, _ in unnamed))}
    for member in fleet:
        by_queue.setdefault(member.record.queue, []).append(member)
    flying, lost, workers = (
        metric.family() for metric in (catalog.IN_FLIGHT, catalog.STRANDED, catalog.WORKERS)
    )
    for queue in sorted({*queues, *by_queue}):
        flying.add_metric((queue,), in_flight(by_queue.get(queue, ())))
    jobs = catalog.WORKER_JOB.family()
    for queue, crew in sorted(by_queue.items()):
        for record in _longest_at_work(crew):
            known = {"queue": queue, "worker": record.id, "job_id": str(record.job_id)}
            jobs.add_metric((), known)
        with_job, without = unnamed.get((queue, True), 0), unnamed.get((queue, False), 0)
        lost.add_metric((queue,), stranded(crew) + with_job)
        totals = counts(crew)
        totals[UNHEALTHY] += with_job + without
        for state, count in totals.items():
            workers.add_metric((queue, state), count)
    yield from (flying, lost, workers, jobs)
    yield from _worker_families(fleet)


def _longest_at_work(crew: Iterable[Member]) -> list[WorkerRecord]:
    busy = sorted((m for m in crew if m.record.has_job), key=lambda member: member.since)
    return [member.record for member in busy[:NAMED_JOBS]]


def _worker_families(fleet: Sequence[Member]) -> Iterator[Family]:
    state, since = catalog.WORKER_STATE.family(), catalog.WORKER_SINCE.family()
    seen, progress = catalog.WORKER_SEEN.family(), catalog.WORKER_PROGRESS.family()
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


def counter_families(
    counters: Iterable[QueueCounters], queues: Iterable[str], named: Iterable[str]
) -> Iterator[Family]:
    """The ledger's totals.

    A queue that the ledger answered for and has no entry of has had no events: 0 is the truth
    there, and lets rates see the first event. Of the queues that are not `named` only the start
    of jobs is reported so, which demand needs; there may be ten thousand of them.
    """
    totals = {queue: QueueCounters(queue) for queue in named}
    totals.update((total.queue, total) for total in counters)
    started, again = catalog.JOBS_STARTED.family(), catalog.JOBS_REDELIVERED.family()
    ended, unread = catalog.JOBS.family(), catalog.JOBS_QUARANTINED.family()
    refused = catalog.OUTCOMES_REFUSED.family()
    duration, wait = catalog.JOB_DURATION.family(), catalog.JOB_WAIT.family()
    startup = catalog.WORKER_STARTUP.family()
    for queue in sorted({*queues, *totals}):
        started.add_metric((queue,), totals[queue].started if queue in totals else 0)
    for queue, total in sorted(totals.items()):
        again.add_metric((queue,), total.redelivered)
        unread.add_metric((queue,), total.quarantined)
        refused.add_metric((queue,), total.refused)
        for outcome in Outcome:
            ended.add_metric((queue, str(outcome)), total.outcomes.get(outcome, 0))
        _add(duration, queue, total.duration)
        _add(wait, queue, total.wait)
        _add(startup, queue, total.startup)
    yield from (started, again, ended, unread, refused, duration, wait, startup)


def _add(family: HistogramMetricFamily, queue: str, histogram: Histogram) -> None:
    if histogram.buckets:
        rows = [(_le(bound), float(count)) for bound, count in histogram.buckets]
        family.add_metric((queue,), rows, sum_value=histogram.sum)


def _le(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else str(float(bound))


def slo_families(
    counters: Iterable[QueueCounters], queues: Iterable[str], start_within_s: float
) -> Iterator[Family]:
    """Jobs that the SLO counts, and those that came late; `start_within_s` is a bucket's bound."""
    jobs, late = catalog.SLO_JOBS.family(), catalog.SLO_LATE.family()
    totals = dict.fromkeys(queues, Histogram((), 0.0))
    totals.update((total.queue, total.wait) for total in counters)
    for queue, wait in sorted(totals.items()):
        in_time = dict(wait.buckets).get(start_within_s, 0)
        jobs.add_metric((queue,), wait.count)
        late.add_metric((queue,), wait.count - in_time)
    yield from (jobs, late)


def alert_families(settings: AlertSettings) -> Iterator[Family]:
    """The alert thresholds and the objective in force."""
    thresholds = catalog.THRESHOLD.family()
    for alert, value in settings.thresholds.items():
        thresholds.add_metric((alert,), value)
    seconds, objective = catalog.SLO_SECONDS.family(), catalog.SLO_OBJECTIVE.family()
    seconds.add_metric((), settings.start_within_s)
    objective.add_metric((), settings.objective)
    yield from (thresholds, seconds, objective)


def source_families(readings: Mapping[str, Reading[Any]]) -> Iterator[Family]:
    """Whether each source answered, and how long it took."""
    up, duration = catalog.SOURCE_UP.family(), catalog.SOURCE_DURATION.family()
    for name, reading in readings.items():
        up.add_metric((name,), 0 if reading.error else 1)
        duration.add_metric((name,), reading.duration_s)
    yield from (up, duration)


def own_families(queues: int, duration_s: float) -> Iterator[Family]:
    """The exporter about itself."""
    count, duration = catalog.EXPORTER_QUEUES.family(), catalog.EXPORTER_DURATION.family()
    count.add_metric((), queues)
    duration.add_metric((), duration_s)
    build = catalog.BUILD.family()
    build.add_metric((), {"version": _VERSION, "python": platform.python_version()})
    yield from (count, duration, build)
