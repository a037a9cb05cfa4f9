"""Readings into families: what was not read makes none, and nothing is made up."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client.metrics_core import Metric as Family

from common.records import Histogram, Outcome, QueueCounters, WorkerRecord, WorkerState
from exporter import catalog
from exporter.depths import Depth
from exporter.families import (
    NAMED_JOBS,
    LedgerView,
    ScrapeReadings,
    counter_families,
    detail_families,
    families,
    fleet_families,
    own_families,
    queue_families,
    slo_families,
    source_families,
)
from exporter.management import Details
from exporter.members import Member
from exporter.selection import QueueName
from exporter.sources import Reading
from exporter.thresholds import AlertSettings

QUEUE = QueueName("/", "video-queue")
DEAD = QueueName("/", "video-queue.dead")


def samples(families: Iterable[Family]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_parked_jobs_are_told_of_their_queue() -> None:
    found = samples(queue_families({QUEUE: Depth(7, 2), DEAD: Depth(3, 0)}))
    where = (("queue", "video-queue"), ("vhost", "/"))
    assert found == {
        ("rabbitmq_queue_messages_ready", where): 7,
        ("rabbitmq_queue_consumers", where): 2,
        ("autoscaler_jobs_parked", where): 3,
    }


def test_what_the_management_api_did_not_say_is_absent() -> None:
    assert samples(detail_families({QUEUE: Details()})) == {}
    found = samples(detail_families({QUEUE: Details(unacked=0, totals={"redeliver": 0})}))
    where = (("queue", "video-queue"), ("vhost", "/"))
    assert found == {
        ("rabbitmq_queue_messages_unacked", where): 0,
        ("rabbitmq_queue_messages_redelivered_total", where): 0,
    }


def test_a_named_queue_without_events_has_zeros_and_others_only_what_demand_needs() -> None:
    queues = ["named", "matched"]
    found = samples(counter_families([], queues, ["named"]))
    started = {labels for name, labels in found if name == "autoscaler_jobs_started_total"}
    assert started == {(("queue", "named"),), (("queue", "matched"),)}
    ended = {dict(labels)["queue"] for name, labels in found if name == "autoscaler_jobs_total"}
    assert ended == {"named"}
    assert not any(name.endswith("_bucket") for name, _ in found)
    found = samples(fleet_families([], queues, ["named"], {}))
    assert found[("autoscaler_jobs_in_flight", (("queue", "matched"),))] == 0
    states = [labels for name, labels in found if name == "autoscaler_workers"]
    assert len(states) == 5


def test_of_many_jobs_those_longest_in_hand_are_named() -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    crew = []
    for number in range(2 * NAMED_JOBS):
        at = began - timedelta(seconds=number)
        record = WorkerRecord(
            id=f"w{number:03}", queue="q", status=WorkerState.BUSY, status_since=at,
            started_at=at, last_seen=began, job_id=f"j{number}",
        )  # fmt: skip
        crew.append(Member(record, "busy", at))
    found = samples(fleet_families(crew, ["q"], ["q"], {}))
    jobs = [dict(labels) for name, labels in found if name == "autoscaler_worker_job_info"]
    assert len(jobs) == NAMED_JOBS
    last = 2 * NAMED_JOBS - 1
    assert {"queue": "q", "worker": f"w{last}", "job_id": f"j{last}"} in jobs
    assert not any(job["job_id"] == "j0" for job in jobs)


def test_counters_and_histograms_are_the_ledgers() -> None:
    wait = Histogram(((30.0, 2), (60.0, 5), (float("inf"), 6)), 210.0)
    counters = QueueCounters(
        "video-queue", 6, {Outcome.DONE: 5, Outcome.PARKED: 1}, 2, 3, 4, wait=wait
    )
    found = samples(counter_families([counters], [], []))
    here = ("queue", "video-queue")
    assert found[("autoscaler_jobs_started_total", (here,))] == 6
    assert found[("autoscaler_jobs_redelivered_total", (here,))] == 2
    assert found[("autoscaler_jobs_quarantined_total", (here,))] == 3
    assert found[("autoscaler_outcomes_refused_total", (here,))] == 4
    assert found[("autoscaler_jobs_total", (("outcome", "parked"), here))] == 1
    assert found[("autoscaler_jobs_total", (("outcome", "retried"), here))] == 0
    assert found[("autoscaler_job_wait_seconds_bucket", (("le", "60.0"), here))] == 5
    assert found[("autoscaler_job_wait_seconds_bucket", (("le", "+Inf"), here))] == 6
    assert found[("autoscaler_job_wait_seconds_sum", (here,))] == 210
    found = samples(slo_families([counters], [], 30.0))
    assert found[("autoscaler_slo_jobs_total", (here,))] == 6
    assert found[("autoscaler_slo_late_jobs_total", (here,))] == 4


def test_every_family_is_of_the_catalogue() -> None:
    readings: dict[str, Reading[Any]] = {
        "amqp": Reading(None, "down", 0.1),
        "ledger": Reading(1, "", 0.2),
    }
    seen = ScrapeReadings(
        depths={QUEUE: Depth(1, 1)},
        details={QUEUE: Details(1, 2.0, 3, {"ack": 4})},
        ledger=LedgerView([], []),
        alerts=AlertSettings(),
        names={"a"},
        named={"a"},
    )
    made = [*families(seen), *source_families(readings), *own_families(1, 0.1)]
    suffixes = {"counter": "_total", "info": "_info"}
    names = [family.name + suffixes.get(family.type, "") for family in made]
    missing = {metric.name for metric in catalog.METRICS} - set(names)
    assert not missing, "have families() of exporter/families.py yield a family of each"
    assert sorted(names) == sorted(metric.name for metric in catalog.METRICS)
    assert all(family.documentation for family in made)


def test_a_source_that_failed_is_down() -> None:
    readings: dict[str, Reading[Any]] = {
        "amqp": Reading(None, "no answer", 0.5),
        "ledger": Reading([], "", 0.2),
    }
    found = samples(source_families(readings))
    assert found[("autoscaler_source_up", (("source", "amqp"),))] == 0
    assert found[("autoscaler_source_up", (("source", "ledger"),))] == 1


def ledger_view(**fields: Any) -> ScrapeReadings:
    view = LedgerView([], [QueueCounters("q", started=3)])._replace(**fields)
    return ScrapeReadings({}, None, view, AlertSettings(), {"q", "r"}, {"q", "r"})


def test_workers_that_are_only_counted_count_as_unhealthy() -> None:
    found = samples(families(ledger_view(unnamed={("q", True): 7, ("gone", False): 2})))
    at = ("queue", "q")
    assert found["autoscaler_workers", (at, ("state", "unhealthy"))] == 7
    assert found["autoscaler_jobs_stranded", (at,)] == 7
    assert found["autoscaler_jobs_in_flight", (at,)] == 0
    gone = ("queue", "gone")
    assert found["autoscaler_workers", (gone, ("state", "unhealthy"))] == 2
    assert found["autoscaler_jobs_stranded", (gone,)] == 0


def test_totals_that_cannot_be_read_are_unknown_and_not_0() -> None:
    found = samples(families(ledger_view(counters=[], damaged_totals=["q"])))
    started = {labels for name, labels in found if name == "autoscaler_jobs_started_total"}
    assert started == {(("queue", "r"),)}
    assert found["autoscaler_jobs_in_flight", (("queue", "q"),)] == 0
    assert found["autoscaler_ledger_entries_unused", (("kind", "totals"),)] == 1


def test_of_queues_that_cannot_be_told_apart_the_ledger_says_nothing() -> None:
    found = samples(families(ledger_view(mixed={"q": ["/", "b"]}, unnamed={("q", True): 7})))
    told = {dict(labels).get("queue") for _, labels in found}
    assert "q" not in told
    assert "r" in told
    assert found["autoscaler_ledger_entries_unused", (("kind", "queue"),)] == 1
