"""Queues that refuse or are not there: the job stays whole, and is announced when they are back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pika
import pytest

from demo.stack import Stack
from tests.support.refusing import memory_alarm, queue_names, refusing, returning_soon
from tests.support.waiting import until
from tests.support.worker_fleet import ROOT, Fleet, body
from worker.envelope import Envelope, WireProperties, short_text

pytestmark = pytest.mark.integration


@pytest.fixture(params=["classic", "quorum"])
def either(
    request: pytest.FixtureRequest, worker_stack: Stack, small_video: Path, tmp_path: Path
) -> Iterator[Fleet]:
    """A fleet whose owner made the queues of either type."""
    fleet = Fleet(worker_stack, tmp_path, small_video, queue_type=request.param)
    yield fleet
    fleet.stop()


def idle(fleet: Fleet) -> bool:
    record = fleet.ledger.worker("w1")
    return record is not None and record.status == "idle"


def totals(fleet: Fleet) -> Any:
    return next((c for c in fleet.ledger.counters() if c.queue == fleet.job_queue), None)


def page(fleet: Fleet, path: str) -> Any:
    record = fleet.ledger.worker("w1")
    assert record is not None
    with urllib.request.urlopen(f"http://{record.address}{path}", timeout=10) as answer:
        return answer.read().decode()


def refused_start(fleet: Fleet, **settings: str) -> str:
    """What a worker says that refuses to work with these settings."""
    done = subprocess.run(
        [sys.executable, "-m", "worker", "run"],
        env=fleet.environment(**settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    return done.stderr


def test_a_result_queue_that_refuses_gets_the_announcement_when_it_takes_again(
    either: Fleet,
) -> None:
    either.start()
    either.ready()
    jobs: list[str] = []

    def refused() -> int:
        """A quorum queue takes some more before it refuses."""
        if not jobs or either.status(jobs[-1]) == "done":
            jobs.append(either.submit("fast"))
        return either.happened("outcome refused")

    with refusing(either.stack, either.result_queue):
        until(refused)
        job = jobs[-1]
        record = until(lambda: (r := either.ledger.worker("w1")) and "waiting" in r.stage and r)
        assert record.job_id == job
        assert either.status(job) == "rendering"
    announced: list[str] = []

    def all_announced() -> bool:
        """A quorum queue goes on refusing until somebody takes from it."""
        announced.extend(either.announced())
        return len(announced) >= len(jobs)

    until(all_announced)
    until(lambda: either.status(job) == "done")
    assert announced == jobs
    assert either.renders(job) == 1
    assert totals(either).refused >= 1


def test_a_worker_that_leaves_meanwhile_gives_the_job_back(fleet: Fleet) -> None:
    fleet.start()
    fleet.ready()
    with refusing(fleet.stack, fleet.result_queue):
        job = fleet.submit("fast")
        until(lambda: fleet.happened("outcome refused"))
        fleet.signal("w1", 15)
        assert fleet.exit_code("w1") == 0
        until(lambda: fleet.depth(fleet.job_queue) == 1)
    fleet.start("w2")
    until(lambda: fleet.status(job) == "done")
    assert fleet.announced() == [job]
    assert fleet.renders(job) == 1


def test_a_worker_does_not_wait_for_one_queue_for_ever(fleet: Fleet) -> None:
    """The job that can't be parked is put off, and others get their turn."""
    fleet.start()
    fleet.ready()
    with refusing(fleet.stack, f"{fleet.job_queue}.dead"):
        bad = [fleet.submit("permanent") for _ in range(2)]  # a quorum queue takes one more
        until(lambda: fleet.happened("outcome refused"))
        good = fleet.submit("fast")
        until(lambda: fleet.status(good) == "done", "the next job")
        names = [name for name in queue_names(fleet.stack) if name.startswith(fleet.job_queue)]
        assert sorted(names) == [
            fleet.job_queue,
            f"{fleet.job_queue}-results",
            f"{fleet.job_queue}.dead",
            f"{fleet.job_queue}.retry.20",
        ]
    refusals = [e for e in fleet.events("w1") if "refused" in e["event"]]
    assert len(refusals) < 15, "it tries again with pauses that grow"
    until(lambda: {fleet.status(job) for job in bad} == {"error"})
    assert len(fleet.take(f"{fleet.job_queue}.dead")) == 2


@pytest.mark.parametrize("full", ["retry.1", "dead"])
def test_a_failed_job_is_kept_while_its_next_queue_refuses(fleet: Fleet, full: str) -> None:
    fleet.start(JOB_RETRY_DELAY="1", JOB_MAX_RETRIES="1")
    fleet.ready()
    with refusing(fleet.stack, f"{fleet.job_queue}.{full}"):
        jobs = [fleet.submit("transient") for _ in range(3)]
        until(lambda: fleet.happened("outcome refused"))
    until(lambda: {fleet.status(job) for job in jobs} == {"error"})
    parked = sorted(raw for _, raw in fleet.take(f"{fleet.job_queue}.dead"))
    assert parked == sorted(body(job, "transient") for job in jobs)
    assert all(fleet.renders(job) >= 2 for job in jobs)


def test_a_retry_that_is_due_while_the_job_queue_refuses_comes_later(
    either: Fleet, tmp_path: Path
) -> None:
    returning_soon(either.stack, 3)
    either.start(JOB_RETRY_DELAY="2")
    either.ready()
    job = either.submit(f"once {tmp_path / 'mark'}")
    until(lambda: either.happened("job failed"))
    with refusing(either.stack, either.job_queue):
        due = time.monotonic() + 4
        until(lambda: time.monotonic() > due)
        if either.queue_type == "classic":  # a quorum queue takes one more
            assert either.status(job) == "queued"
    until(lambda: either.status(job) == "done")
    assert either.announced() == [job]
    assert either.renders(job) == 2


def test_a_retry_queue_of_an_earlier_version_is_made_anew_once_it_is_empty(
    fleet: Fleet, tmp_path: Path
) -> None:
    name = f"{fleet.job_queue}.retry.1"
    old = {
        "x-message-ttl": 1000,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": fleet.job_queue,
    }
    with fleet.channel() as channel:
        channel.queue_declare(name, durable=True, arguments=old)
    fleet.start(JOB_RETRY_DELAY="1")
    fleet.ready()
    job = fleet.submit(f"once {tmp_path / 'mark'}")
    until(lambda: fleet.status(job) == "done")
    with fleet.channel() as channel, pytest.raises(pika.exceptions.ChannelClosedByBroker):
        channel.queue_declare(name, durable=True, arguments=old)


def test_where_no_retry_queue_can_be_had_the_job_waits_with_its_worker(
    fleet: Fleet, tmp_path: Path
) -> None:
    name = f"{fleet.job_queue}.retry.1"
    with fleet.channel() as channel:
        channel.queue_declare(name, durable=True)
        channel.basic_publish("", name, b"somebody's")
    fleet.start(JOB_RETRY_DELAY="1")
    fleet.ready()
    job = fleet.submit(f"once {tmp_path / 'mark'}", headers={"mine": "yes"})
    until(lambda: fleet.status(job) == "done")
    assert fleet.happened("the retry waits with this worker") == 1
    assert fleet.announced() == [job]
    assert [raw for _, raw in fleet.take(name)] == [b"somebody's"]


def test_an_alarm_of_the_broker_is_waited_for_and_nobody_is_called_ill(
    small_video: Path, tmp_path: Path
) -> None:
    with Stack(tmp_path / "stack") as stack:
        stack.start("redis", "rabbitmq")
        fleet = Fleet(stack, tmp_path, small_video)
        try:
            fleet.start(HEALTH_CHECK_TIMEOUT="2", AMQP_HEARTBEAT="5")
            fleet.ready()
            go = tmp_path / "go"
            job = fleet.submit(f"await {go}")
            until(lambda: fleet.renders(job))
            with memory_alarm(stack):
                go.touch()
                stored = fleet.output / f"{job}.mp4"
                until(stored.exists)
                long_enough = time.monotonic() + 15
                while time.monotonic() < long_enough:
                    assert page(fleet, "/-/healthy") == "ok\n"
                    time.sleep(0.5)
                assert fleet.status(job) == "rendering"
            until(lambda: fleet.status(job) == "done")
            assert fleet.announced() == [job]
            assert fleet.renders(job) == 1
            assert not fleet.happened("no broker connection")
        finally:
            fleet.stop()


def test_a_stream_is_refused_by_name(fleet: Fleet) -> None:
    stream = f"{fleet.job_queue}-stream"
    with fleet.channel() as channel:
        channel.queue_declare(stream, durable=True, arguments={"x-queue-type": "stream"})
        channel.basic_publish("", stream, body("before"))
    said = refused_start(fleet, JOB_QUEUE=stream)
    (line,) = [line for line in said.splitlines() if not line.startswith("{")]
    assert "JOB_QUEUE" in line
    assert stream in line
    assert "classic or quorum" in line


def test_the_job_queue_is_its_owners(fleet: Fleet) -> None:
    """A worker that starts first waits for it, and takes it however it has been made."""
    late = f"{fleet.job_queue}-late"
    fleet.start(JOB_QUEUE=late)
    until(lambda: fleet.happened("waiting for the job queue"))
    assert late not in queue_names(fleet.stack)
    arguments = {"x-queue-type": "quorum", "x-max-length": 100}
    with fleet.channel() as channel:
        channel.queue_declare(late, durable=True, arguments=arguments)
        channel.basic_publish("", late, body("job-late"))
    until(lambda: fleet.status("job-late") == "done")


def test_the_job_queue_is_made_where_that_is_asked_for(fleet: Fleet) -> None:
    fresh = f"{fleet.job_queue}-fresh"
    fleet.start(JOB_QUEUE=fresh, DECLARE_JOB_QUEUE="true")
    fleet.ready()
    with fleet.channel() as channel:
        channel.queue_declare(fresh, durable=True)
        channel.basic_publish("", fresh, body("job-fresh"))
    until(lambda: fleet.status("job-fresh") == "done")


def test_what_is_retried_and_parked_keeps_its_properties(fleet: Fleet, tmp_path: Path) -> None:
    fleet.start(JOB_RETRY_DELAY="1", JOB_MAX_RETRIES="1")
    fleet.ready()
    given = {
        "content_type": short_text("application/json"),
        "priority": b"\x05",
        "correlation_id": short_text("c-1"),
        "reply_to": short_text("answers"),
        "message_id": short_text("order1"),
        "timestamp": (2**64 - 1).to_bytes(8, "big"),
        "type": short_text("video"),
        "app_id": short_text("api"),
    }
    headers = (("half", b"d" + b"\x3f\xe0" + bytes(6)), ("deep", b"A\0\0\0\1V"))
    envelope = Envelope(given, headers)
    job = "job-properties"
    with fleet.channel() as channel:
        sent = WireProperties(envelope)
        channel.basic_publish("", fleet.job_queue, body(job, "transient"), sent)
    until(lambda: fleet.status(job) == "error")
    ((properties, _),) = fleet.take(f"{fleet.job_queue}.dead")
    parked: Envelope = properties.envelope
    assert {name: parked.properties[name] for name in given} == given
    assert set(headers) < set(parked.headers)
    history = json.loads(str(parked.header("x-history")))
    assert [entry["attempt"] for entry in history] == [1, 2]


def test_two_workers_of_one_id_are_refused(fleet: Fleet) -> None:
    fleet.start("w1", HEARTBEAT_INTERVAL="1")
    fleet.ready("w1")
    said = refused_start(fleet, WORKER_ID="w1")
    assert "WORKER_ID" in said
    assert idle(fleet), "the first one's record stays"


def test_two_fleets_whose_queues_have_one_name_are_refused(fleet: Fleet) -> None:
    fleet.start("w1")
    fleet.ready("w1")
    assert fleet.ledger.register_queue(fleet.job_queue, "elsewhere") == "/"
    other = f"{fleet.job_queue}-b"
    fleet.ledger.register_queue(other, "elsewhere")
    said = refused_start(fleet, WORKER_ID="w2", JOB_QUEUE=other, DECLARE_JOB_QUEUE="true")
    assert "'elsewhere'" in said


def test_a_message_that_ends_two_workers_is_parked_by_the_third(fleet: Fleet) -> None:
    """By any worker, with the good job after it done."""
    poison, good = "job-poison", "job-good"
    fleet.start("w1")
    fleet.ready("w1")
    fleet.submit("sleep 600", poison, headers={"mine": "yes"})
    for name in ("w1", "w2"):
        until(lambda: fleet.renders(poison), "it works on the poison")
        fleet.standin_log.unlink()
        fleet.signal(name, 9)
        fleet.exit_code(name)
        if name == "w1":
            fleet.start("w2")
    fleet.submit("fast", good)
    fleet.start("w3")
    until(lambda: fleet.status(good) == "done")
    ((properties, raw),) = until(lambda: fleet.take(f"{fleet.job_queue}.dead"), "quarantine")
    assert raw == body(poison, "sleep 600")
    assert "2 workers" in properties.headers["x-error"]
    assert "mine" not in properties.headers
    assert fleet.status(poison) == "error"
    until(lambda: totals(fleet).quarantined == 1)


def test_the_longest_names_have_room(
    worker_stack: Stack, small_video: Path, tmp_path: Path
) -> None:
    """Of the queue, the job and the message, all at once, and through a retry."""
    name = "q" * 200 + uuid4().hex[:8]
    fleet = Fleet(worker_stack, tmp_path, small_video, job_queue=name)
    try:
        fleet.start(JOB_RETRY_DELAY="1")
        fleet.ready()
        job, order = "j" * 128, "m" * 255
        fleet.submit(f"once {tmp_path / 'mark'}", job, message_id=order)
        until(lambda: fleet.status(job) == "done")
        assert fleet.announced() == [job]
    finally:
        fleet.stop()
