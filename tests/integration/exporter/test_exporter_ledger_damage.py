"""A ledger that is damaged, full of the dead, older than before, or another fleet's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis

from common.ledger import Ledger
from common.ledger.queue_totals import QUEUES, counters_key
from common.records import WORKERS, Outcome, WorkerRecord, WorkerState
from demo.stack import Stack
from tests.integration.exporter.conftest import Scraped, exporter_for

pytestmark = pytest.mark.integration
UP = "autoscaler_source_up"
UNUSED = "autoscaler_ledger_entries_unused"
STARTED = "autoscaler_jobs_started_total"
BAD = b"\xff\xfe"


@pytest.fixture
def raw(stack: Stack) -> Iterator[Any]:
    """The ledger's Redis as bytes, emptied."""
    with redis.Redis.from_url(stack.redis_url) as client:
        client.flushall()
        yield client


@pytest.fixture
def ledger(stack: Stack, raw: Any) -> Iterator[Ledger]:
    ledger = Ledger.connect(stack.redis_url)
    yield ledger
    ledger.close()


def worker(ledger: Ledger, name: str, *, age_s: float = 0, **fields: Any) -> WorkerRecord:
    at = ledger.now() - timedelta(seconds=age_s)
    given: dict[str, Any] = {
        "queue": "video-queue", "vhost": "/", "instance": name, "status": WorkerState.BUSY,
        "status_since": at, "started_at": at, "last_seen": at, "job_id": f"job-{name}",
    }  # fmt: skip
    return WorkerRecord(id=name, **(given | fields))


def check_all_but_the_damage(seen: Scraped) -> None:
    assert seen.value(UP, source="ledger") == 1
    assert seen.value("autoscaler_jobs_in_flight", queue="video-queue") == 1
    assert seen.value("autoscaler_worker_state", worker="good") == 1


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        (b"w", BAD),
        (b"w", b"{"),
        (b"w", b""),
        (b"w", b"[" * 100_000),
        (b"w", b'{"id":' * 20_000),
        (b"w", b"1e999"),
        (b"w", b"\x00"),
        (BAD, b"good"),
        (b"w\x00w", b"good"),
        (b"another", b"good"),
        (b"good", b"progress"),
    ],
)
def test_a_damaged_record_is_left_out_and_counted(
    stack: Stack, ledger: Ledger, raw: Any, name: bytes, entry: bytes
) -> None:
    good = ledger.put_worker(worker(ledger, "good")).model_dump_json().encode()
    shapes = {b"good": good, b"progress": good.replace(b'"progress":0.0', b'"progress":1e999')}
    if name == b"good":
        raw.hset(WORKERS, b"bad", shapes[entry].replace(b'"good"', b'"bad"'))
    else:
        raw.hset(WORKERS, name, shapes.get(entry, entry))
    with exporter_for(stack) as probe:
        seen = probe.scrape()
        check_all_but_the_damage(seen)
        assert seen.value(UNUSED, kind="worker") == 1
        probe.get("/sd/workers")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"started", b"many"),
        (b"started", BAD),
        (b"started", b"nan"),
        (b"started", b"inf"),
        (b"started", b"-1"),
        (b"started", b"1e400"),
        (b"wait:sum", b""),
        (BAD, b"x"),
        (b"vhost", BAD),
    ],
)
def test_damaged_totals_are_unknown_until_they_are_counted_anew(
    stack: Stack, ledger: Ledger, raw: Any, field: bytes, value: bytes
) -> None:
    ledger.put_worker(worker(ledger, "good"))
    ledger.count_started("video-queue", "e1", first=True)
    ledger.count_started("other", "e2", first=True)
    with exporter_for(stack) as probe:
        assert probe.scrape().value(STARTED, queue="video-queue") == 1
        raw.hset(counters_key("video-queue"), field, value)
        seen = probe.scrape()
        check_all_but_the_damage(seen)
        assert seen.value(STARTED, queue="video-queue") is None
        assert seen.value(STARTED, queue="other") == 1
        assert seen.value(UNUSED, kind="totals") == 1


def test_workers_go_on_counting_on_damaged_totals(stack: Stack, ledger: Ledger, raw: Any) -> None:
    ledger.put_worker(worker(ledger, "good"))
    ledger.count_started("video-queue", "e1", first=True)
    raw.hset(counters_key("video-queue"), "started", "many")
    raw.delete(QUEUES)
    raw.set(QUEUES, "no set")
    assert ledger.count_started("video-queue", "e2", first=True)
    raw.delete(counters_key("other"))
    raw.set(counters_key("other"), "no hash")
    assert ledger.count_outcome("other", "e3", Outcome.DONE, duration_s=3)
    with exporter_for(stack) as probe:
        seen = probe.scrape()
    check_all_but_the_damage(seen)
    assert seen.value(STARTED, queue="video-queue") == 1
    assert seen.value("autoscaler_jobs_total", queue="other", outcome="done") == 1


def test_keys_of_another_type_and_names_that_are_no_text(
    stack: Stack, ledger: Ledger, raw: Any
) -> None:
    ledger.put_worker(worker(ledger, "good"))
    raw.sadd(QUEUES, BAD, "wrong-type", "there")
    raw.set(counters_key("wrong-type"), "no hash")
    ledger.count_started("there", "e1", first=True)
    with exporter_for(stack) as probe:
        seen = probe.scrape()
    check_all_but_the_damage(seen)
    assert seen.value(UNUSED, kind="totals") == 2
    assert seen.value(STARTED, queue="there") == 1


@pytest.mark.parametrize("key", [WORKERS, QUEUES])
def test_where_the_whole_of_it_is_something_else_the_source_is_down(
    stack: Stack, raw: Any, key: str
) -> None:
    raw.set(key, BAD)
    with exporter_for(stack) as probe:
        seen = probe.scrape()
    assert seen.value(UP, source="ledger") == 0
    assert seen.value("rabbitmq_queue_messages_ready", queue="video-queue") == 0
    assert "autoscaler_jobs_in_flight" not in seen.names


def fill(raw: Any, ledger: Ledger, count: int, age_s: float) -> None:
    sample = worker(ledger, "dead-0", age_s=age_s, node="n1", task="t", stage="rendering")
    text = sample.model_dump_json()
    names = (f"dead-{number}" for number in range(count))
    raw.hset(WORKERS, mapping={name: text.replace("dead-0", name) for name in names})


@pytest.mark.parametrize("age_s", [1_000_000, 3600, 120])
def test_twenty_thousand_dead_workers_cost_no_scrape(
    stack: Stack, ledger: Ledger, raw: Any, age_s: float
) -> None:
    fill(raw, ledger, 20_000, age_s)
    for number in range(3):
        ledger.put_worker(worker(ledger, f"alive-{number}"))
    ledger.put_worker(worker(ledger, "idle", status=WorkerState.IDLE, job_id=None))
    unhealthy = 20_000 if age_s < 600 else 0
    with exporter_for(stack) as probe:
        for _ in range(3):
            seen = probe.scrape(5.0)
            assert seen.took_s < 5.0
            # On a busy machine a scrape may end before the ledger has.
            seen = probe.until(lambda seen: seen.value(UP, source="ledger") == 1, "it is read")
            assert seen.value("autoscaler_jobs_in_flight", queue="video-queue") == 3
            assert seen.value("autoscaler_workers", state="idle") == 1
            assert seen.value("autoscaler_workers", state="unhealthy") == unhealthy
            assert seen.value("autoscaler_jobs_stranded", queue="video-queue") == unhealthy
            assert seen.value("autoscaler_worker_state", worker="alive-2", state="busy") == 1
            assert seen.value(UNUSED, kind="worker") == 0


def test_of_many_silent_workers_those_seen_last_have_series(
    stack: Stack, ledger: Ledger, raw: Any
) -> None:
    fill(raw, ledger, 2000, 500)
    late = worker(ledger, "late", age_s=60)
    raw.hset(WORKERS, late.id, late.model_dump_json())
    with exporter_for(stack) as probe:
        seen = probe.scrape()
    assert seen.value("autoscaler_workers", state="unhealthy") == 2001
    assert seen.value("autoscaler_worker_state", worker="late", state="unhealthy") == 1
    named = [labels for name, labels, _ in seen.samples if name == "autoscaler_worker_state"]
    assert len(named) == 1000


def test_totals_of_an_older_ledger_do_not_fall(stack: Stack, ledger: Ledger, raw: Any) -> None:
    for number in range(5):
        ledger.count_started("video-queue", f"a{number}", first=True, wait_s=7)
    with exporter_for(stack) as probe:
        assert probe.scrape().value(STARTED, queue="video-queue") == 5
        snapshot = raw.dump(counters_key("video-queue"))
        for number in range(2):
            ledger.count_started("video-queue", f"b{number}", first=True, wait_s=7)
        assert probe.scrape().value(STARTED, queue="video-queue") == 7
        raw.restore(counters_key("video-queue"), 0, snapshot, replace=True)
        seen = probe.scrape()
        assert seen.value(STARTED, queue="video-queue") == 7
        assert seen.value("autoscaler_job_wait_seconds_count", queue="video-queue") == 7
        assert seen.value("autoscaler_slo_jobs_total", queue="video-queue") == 7
        ledger.count_started("video-queue", "c", first=True, wait_s=7)
        assert probe.scrape().value(STARTED, queue="video-queue") == 8
        raw.flushall()
        assert probe.scrape().value(STARTED, queue="video-queue") == 8
        ledger.count_started("video-queue", "d", first=True, wait_s=7)
        seen = probe.scrape()
        assert seen.value(STARTED, queue="video-queue") == 9
        assert seen.value("autoscaler_job_wait_seconds_sum", queue="video-queue") == 63


def test_a_fleet_of_another_virtual_host_is_not_taken_for_this_one(
    stack: Stack, ledger: Ledger
) -> None:
    ledger.register_queue("video-queue", "team-b")
    ledger.put_worker(worker(ledger, "theirs", vhost="team-b"))
    ledger.put_worker(worker(ledger, "ours", queue="other"))
    with exporter_for(stack, QUEUES="video-queue,other") as probe:
        seen = probe.scrape()
        assert seen.value(UP, source="ledger") == 1
        assert seen.value("rabbitmq_queue_messages_ready", queue="video-queue") == 0
        for metric in ("autoscaler_jobs_in_flight", STARTED, "autoscaler_slo_jobs_total"):
            assert seen.value(metric, queue="video-queue") is None
        assert seen.value("autoscaler_workers", queue="video-queue", state="idle") is None
        assert seen.value("autoscaler_worker_state", worker="theirs") is None
        assert seen.value("autoscaler_jobs_in_flight", queue="other") == 1
        assert seen.value(UNUSED, kind="queue") == 1
        ledger.remove_worker("theirs")
        ledger._redis.flushall()
        ledger.put_worker(worker(ledger, "ours"))
        probe.until(
            lambda s: s.value("autoscaler_jobs_in_flight", queue="video-queue") == 1, "ours"
        )
