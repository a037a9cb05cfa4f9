"""What the exporter says, against a real broker and a real ledger."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any

import pika
import pytest
import redis

from common.amqp import parameters
from common.ledger import Ledger
from common.records import Outcome, WorkerRecord, WorkerState
from demo.stack import Stack
from exporter.__main__ import settings
from exporter.depths import QueueReader
from tests.integration.exporter.conftest import Probe, channel, exporter_for

pytestmark = pytest.mark.integration
READY = "rabbitmq_queue_messages_ready"


def record(name: str, state: WorkerState, **fields: Any) -> WorkerRecord:
    now = datetime.now(UTC)
    return WorkerRecord(
        id=name,
        queue="video-queue",
        status=state,
        status_since=now,
        started_at=now,
        last_seen=now,
        **fields,
    )


@pytest.fixture
def ledger(stack: Stack) -> Ledger:
    redis.Redis.from_url(stack.redis_url).flushall()
    return Ledger.connect(stack.redis_url)


def test_depth_is_right_at_the_very_next_scrape(stack: Stack) -> None:
    with exporter_for(stack) as probe, channel(stack) as amqp:
        amqp.confirm_delivery()
        for count in range(1, 51):
            amqp.basic_publish("", "video-queue", b"{}")
            assert probe.scrape().value(READY, queue="video-queue") == count


def test_fleet_and_totals_are_the_ledgers(stack: Stack, ledger: Ledger) -> None:
    ledger.put_worker(record("w1", WorkerState.IDLE, address="10.0.0.1:9000", node="n1"))
    ledger.put_worker(record("w2", WorkerState.BUSY, job_id="j", progress=0.25, slot="2"))
    ledger.count_started("video-queue", "e1", first=True, wait_s=70)
    ledger.count_started("video-queue", "e1", first=True, wait_s=70)
    ledger.count_outcome("video-queue", "e2", Outcome.DONE, duration_s=12)
    ledger.count_startup("video-queue", "e3", 4)
    with exporter_for(stack) as probe:
        seen = probe.scrape()
        found = json.loads(probe.get("/sd/workers"))
    assert seen.value("autoscaler_jobs_in_flight", queue="video-queue") == 1
    assert seen.value("autoscaler_workers", state="idle") == 1
    assert seen.value("autoscaler_workers", state="starting") == 0
    assert seen.value("autoscaler_worker_state", worker="w2", state="busy", slot="2") == 1
    assert seen.value("autoscaler_worker_job_progress_ratio", worker="w2") == 0.25
    assert seen.value("autoscaler_worker_job_progress_ratio", worker="w1") is None
    assert seen.value("autoscaler_worker_job_info", worker="w2", job_id="j") == 1
    assert seen.value("autoscaler_worker_job_info", worker="w1") is None
    assert seen.value("autoscaler_jobs_started_total") == 1
    assert seen.value("autoscaler_jobs_total", outcome="done") == 1
    assert seen.value("autoscaler_job_duration_seconds_bucket", le="20.0") == 1
    assert seen.value("autoscaler_worker_startup_seconds_sum") == 4
    assert seen.value("autoscaler_slo_late_jobs_total", queue="video-queue") == 1
    labels = {"queue": "video-queue", "worker": "w1", "node": "n1"}
    assert found == [{"targets": ["10.0.0.1:9000"], "labels": labels}]


def test_totals_survive_a_workers_leaving(stack: Stack, ledger: Ledger) -> None:
    ledger.put_worker(record("w1", WorkerState.IDLE))
    ledger.count_outcome("video-queue", "e", Outcome.DONE, duration_s=12)
    ledger.remove_worker("w1")
    with exporter_for(stack) as probe:
        seen = probe.scrape()
    assert seen.value("autoscaler_jobs_total", outcome="done") == 1
    assert seen.value("autoscaler_worker_state", worker="w1") is None


def test_a_silent_worker_is_unhealthy_and_then_forgotten(stack: Stack, ledger: Ledger) -> None:
    ledger.put_worker(record("w1", WorkerState.BUSY, job_id="j"))
    times = {"HEARTBEAT_INTERVAL": "0.2", "FORGET_AFTER": "3"}
    with exporter_for(stack, **times) as probe:
        seen = probe.until(lambda s: s.value("autoscaler_workers", state="unhealthy"), "unhealthy")
        assert seen.value("autoscaler_jobs_in_flight", queue="video-queue") == 0
        assert seen.value("autoscaler_jobs_stranded", queue="video-queue") == 1
        assert json.loads(probe.get("/sd/workers")) == []
        probe.until(lambda s: s.value("autoscaler_worker_state", worker="w1") is None, "forgotten")


def test_parked_jobs_appear_once_there_is_a_place_for_them(stack: Stack) -> None:
    with exporter_for(stack) as probe, channel(stack) as amqp:
        assert probe.scrape().value("autoscaler_jobs_parked") is None
        amqp.queue_declare("video-queue.dead", durable=True)
        amqp.basic_publish("", "video-queue.dead", b"{}")
        probe.until(lambda s: s.value("autoscaler_jobs_parked", queue="video-queue"), "parked")


def test_a_queue_that_is_missing_is_absent_and_no_other_is_disturbed(stack: Stack) -> None:
    with exporter_for(stack, QUEUES="video-queue,nowhere") as probe, channel(stack) as amqp:
        seen = probe.scrape()
        assert seen.value(READY, queue="video-queue") == 0
        assert seen.value(READY, queue="nowhere") is None
        assert seen.value("autoscaler_source_up", source="amqp") == 1
        amqp.queue_declare("nowhere")
        probe.until(lambda s: s.value(READY, queue="nowhere") == 0, "the new queue")
        amqp.queue_delete("nowhere")
        assert probe.scrape().value(READY, queue="nowhere") is None
        assert probe.scrape().value(READY, queue="video-queue") == 0


def test_few_channels_and_many_missing_queues(stack: Stack) -> None:
    there = [f"few-{number}" for number in range(8)]
    names = [name for pair in zip(there, (f"no-{n}" for n in there), strict=True) for name in pair]
    url = f"{stack.rabbit_url}?channel_max=2"
    with (
        exporter_for(stack, RABBIT_URL=url, QUEUES=",".join(names)) as probe,
        channel(stack) as amqp,
    ):
        for name in there:
            amqp.queue_declare(name)
        for _ in range(3):
            seen = probe.scrape()
            assert seen.value("autoscaler_source_up", source="amqp") == 1
            assert [seen.value(READY, queue=name) for name in there] == [0] * 8
        for name in there:
            amqp.queue_delete(name)


def test_patterns_over_queues_and_virtual_hosts(stack: Stack) -> None:
    management = stack.management_url.replace("://", "://guest:guest@")
    put(f"{stack.management_url}/api/vhosts/team-a", {})
    put(
        f"{stack.management_url}/api/permissions/team-a/guest",
        {"configure": ".*", "write": ".*", "read": ".*"},
    )
    with channel(stack, "team-a") as there, channel(stack) as here:
        for name in ("job-1", "job-2", "job-2.retry.5"):
            there.queue_declare(name)
        there.basic_publish("", "job-1", b"{}")
        here.queue_declare("job-3")
        chosen = {
            "QUEUES": "job-*",
            "QUEUES_EXCLUDE": "*.retry.*",
            "VHOSTS": "/,team-*",
            "MANAGEMENT_URL": management,
            "DISCOVERY_INTERVAL": "1",
        }
        with exporter_for(stack, **chosen) as probe:
            seen = probe.scrape()
            assert seen.value(READY, vhost="team-a", queue="job-1") == 1
            assert seen.value(READY, vhost="team-a", queue="job-2") == 0
            assert seen.value(READY, vhost="/", queue="job-3") == 0
            assert seen.value(READY, queue="job-2.retry.5") is None
            assert seen.value(READY, queue="video-queue") is None
            here.queue_declare("job-4")
            probe.until(lambda s: s.value(READY, queue="job-4") == 0, "the new queue is listed")
        here.queue_delete("job-3")
        here.queue_delete("job-4")


def test_details_come_from_the_management_api(stack: Stack) -> None:
    management = stack.management_url.replace("://", "://guest:guest@")
    with exporter_for(stack, MANAGEMENT_URL=management) as probe, channel(stack) as amqp:
        for stamp in (1_700_000_000, 1_700_000_500):
            properties = pika.BasicProperties(timestamp=stamp)
            amqp.basic_publish("", "video-queue", b"{}", properties)
        method, _, _ = amqp.basic_get("video-queue")
        amqp.basic_nack(method.delivery_tag, requeue=True)
        amqp.basic_get("video-queue")
        # The API's own numbers are seconds old: wait for what it will say.
        expected = {
            "rabbitmq_queue_messages_unacked": 1,
            "rabbitmq_queue_messages_redelivered_total": 1,
            "rabbitmq_queue_messages_published_total": 2,
            # The oldest, also when it is in somebody's hands.
            "rabbitmq_queue_head_message_timestamp": 1_700_000_000,
        }
        seen = probe.until(
            lambda s: {name: s.value(name) for name in expected} == expected, "details"
        )
        assert seen.value("autoscaler_source_up", source="management") == 1


def test_names_and_types_pass_prometheus_own_check(stack: Stack, ledger: Ledger) -> None:
    ledger.put_worker(record("w1", WorkerState.BUSY, job_id="j"))
    ledger.count_started("video-queue", "e1", first=True, wait_s=7)
    management = stack.management_url.replace("://", "://guest:guest@")
    with exporter_for(stack, MANAGEMENT_URL=management) as probe:
        text = probe.get("/metrics")
    command = ["promtool", "check", "metrics"]
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_brokers_user_needs_no_permission_on_any_queue(stack: Stack) -> None:
    user = {"password": "watching", "tags": "monitoring"}
    put(f"{stack.management_url}/api/users/watcher", user)
    nothing = {"configure": "^$", "write": "^$", "read": "^$"}
    put(f"{stack.management_url}/api/permissions/%2F/watcher", nothing)
    watcher = {
        "RABBIT_URL": stack.rabbit_url.replace("guest:guest", "watcher:watching"),
        "MANAGEMENT_URL": stack.management_url.replace("://", "://watcher:watching@"),
        "QUEUES": "video-*",
    }
    with exporter_for(stack, **watcher) as probe:
        seen = probe.scrape()
    assert seen.value(READY, queue="video-queue") == 0
    assert seen.value("autoscaler_source_up", source="management") == 1
    assert seen.value("autoscaler_source_up", source="listing") == 1


def test_the_connection_stays_between_scrapes(stack: Stack) -> None:
    given = settings({"RABBIT_URL": stack.rabbit_url, "REDIS_URL": stack.redis_url})
    reader = QueueReader(parameters(given, name="heartbeats", heartbeat_s=1)).start()
    try:
        assert reader.read(["video-queue"], 5)["video-queue"].ready == 0
        before = connections(stack, "heartbeats")
        # The broker drops a connection that is used in scrapes only: it misses heartbeats.
        time.sleep(6)
        assert reader.read(["video-queue"], 5)["video-queue"].ready == 0
        assert connections(stack, "heartbeats") == before
        assert len(before) == 1
    finally:
        reader.close()


def connections(stack: Stack, client: str) -> list[str]:
    """The connections of a client of that name, as the broker calls them."""
    request = urllib.request.Request(f"{stack.management_url}/api/connections")
    request.add_header("Authorization", "Basic Z3Vlc3Q6Z3Vlc3Q=")
    deadline = time.monotonic() + 20
    while True:
        with urllib.request.urlopen(request, timeout=10) as response:
            rows = json.load(response)
        names = [
            row["name"]
            for row in rows
            if row.get("client_properties", {}).get("connection_name") == client
        ]
        if len(names) == 1 or time.monotonic() > deadline:
            return names
        time.sleep(0.5)


def put(url: str, body: dict[str, str]) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), method="PUT")
    request.add_header("Authorization", "Basic Z3Vlc3Q6Z3Vlc3Q=")
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request, timeout=10).close()


def test_no_credential_on_any_page_or_in_the_log(stack: Stack) -> None:
    management = stack.management_url.replace("://", "://guest:hidden-word@")
    chosen = {
        "RABBIT_URL": stack.rabbit_url.replace("guest:guest", "guest:hidden-word"),
        "MANAGEMENT_URL": management,
        "REDIS_URL": "redis://:hidden-word@127.0.0.1:9/0",
        "LOG_LEVEL": "debug",
    }
    part = stack.program("exporter", chosen)
    try:
        probe = Probe(stack.exporter_url)
        seen = probe.scrape()
        for source in ("amqp", "management", "ledger"):
            assert seen.value("autoscaler_source_up", source=source) == 0
        pages = [probe.get(path) for path in ("/", "/metrics", "/-/healthy", "/-/ready")]
        pages.append(refused(probe))
    finally:
        part.stop()
    log = part.log.read_text()
    assert "source is down" in log
    assert not any("hidden-word" in text for text in (*pages, log))


def refused(probe: Probe) -> str:
    with pytest.raises(urllib.error.HTTPError) as caught:
        probe.get("/sd/workers")
    assert caught.value.code == 503
    return caught.value.read().decode()
