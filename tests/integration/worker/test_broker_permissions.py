"""Every program does its work with exactly the permissions that are documented, and no more."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pika
import pytest

from tests.integration.exporter.conftest import exporter_for
from tests.support.broker_users import create_users
from tests.support.waiting import until
from tests.support.worker_fleet import ROOT, Fleet, body
from worker.dead import ParkedJobs
from worker.job_queue import BrokerError, JobQueue
from worker.settings import load_settings

pytestmark = pytest.mark.integration
Request = Callable[[Any, Fleet], object]


class Users:
    """Addresses of the broker, by user."""

    def __init__(self, fleet: Fleet) -> None:
        stack = fleet.stack
        self._ending = create_users(stack, fleet.job_queue, fleet.result_queue, tags="management")
        self._amqp = f"127.0.0.1:{stack.amqp_port}/"
        self._management = stack.management_url.removeprefix("http://")

    def amqp(self, user: str) -> str:
        return f"amqp://{user}{self._ending}:word@{self._amqp}"

    def management(self, user: str) -> str:
        return f"http://{user}{self._ending}:word@{self._management}"


@pytest.fixture
def users(fleet: Fleet) -> Users:
    return Users(fleet)


def command(fleet: Fleet, url: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "worker", *words],
        env=fleet.environment(RABBIT_URL=url),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_of_them_at_work(fleet: Fleet, users: Users, tmp_path: Path) -> None:
    dead = f"{fleet.job_queue}.dead"
    fleet.start(RABBIT_URL=users.amqp("worker"), JOB_RETRY_DELAY="1")
    fleet.ready()
    jobs = {"good": "fast", "again": f"once {tmp_path / 'once'}", "bad": "permanent"}
    with fleet.channel(users.amqp("producer")) as channel:
        channel.confirm_delivery()
        channel.queue_declare(fleet.job_queue, passive=True)
        for job, title in jobs.items():
            channel.basic_publish("", fleet.job_queue, body(job, title), mandatory=True)
    until(lambda: fleet.status("good") == fleet.status("again") == "done")
    until(lambda: fleet.depth(dead) == 1)
    assert fleet.renders("again") == 2

    variables = {
        "RABBIT_URL": users.amqp("exporter"),
        "MANAGEMENT_URL": users.management("exporter"),
        "QUEUES": f"{fleet.job_queue[:-1]}*",
        "QUEUES_EXCLUDE": f"{fleet.job_queue}*.*,*-results",
        "DISCOVERY_INTERVAL": "1",
    }
    depth = "rabbitmq_queue_messages_ready"
    with exporter_for(fleet.stack, **variables) as probe:
        seen = probe.until(lambda seen: seen.value(depth, queue=fleet.job_queue) == 0, "depth")
        assert seen.value("autoscaler_jobs_parked", queue=fleet.job_queue) == 1
        assert seen.value("autoscaler_source_up", source="management") == 1

    operator = users.amqp("operator")
    for _ in range(3):
        assert "bad" in command(fleet, operator, "dead", "list")
    assert command(fleet, operator, "dead", "requeue", "bad") == "1 handed back\n"
    until(lambda: fleet.renders("bad") == 2)
    until(lambda: fleet.depth(dead) == 1)
    assert command(fleet, operator, "dead", "drop", "--all") == "1 dropped\n"
    (tmp_path / "job.json").write_bytes(body("sent"))
    for user in ("operator", "producer"):
        said = command(fleet, users.amqp(user), "submit", str(tmp_path / "job.json"))
        assert said == "submitted sent\n"
    until(lambda: fleet.status("sent") == "done")

    until(lambda: fleet.depth(fleet.result_queue) >= 3)
    with fleet.channel(users.amqp("publisher")) as channel:
        assert channel.basic_get(fleet.result_queue, auto_ack=True)[0] is not None
    assert fleet.processes["w1"].poll() is None


def take(queue: str) -> Request:
    return lambda channel, fleet: channel.basic_get(queue.format(fleet.job_queue))


def make(queue: str) -> Request:
    return lambda channel, fleet: channel.queue_declare(
        queue.format(fleet.job_queue), durable=True, arguments={"x-queue-type": "quorum"}
    )


def remove(queue: str) -> Request:
    return lambda channel, fleet: channel.queue_delete(queue.format(fleet.job_queue))


def publish(channel: Any, fleet: Fleet) -> None:
    channel.confirm_delivery()
    channel.basic_publish("", fleet.job_queue, b"")


def bind(channel: Any, fleet: Fleet) -> None:
    channel.queue_bind(fleet.job_queue, "amq.fanout")


NOT_ALLOWED: dict[str, tuple[Request, ...]] = {
    "worker": (
        take("{}.dead"), take("{}-results"), take("other"),
        make("{}-results-2"), make("other"), make("{}.retry.x"), make("{}xretry.5"),
        remove("{}"), remove("{}-results"), bind,
    ),
    "exporter": (
        take("{}"), take("{}.dead"), make("{}.dead"), make("{}.retry.5"), remove("{}"), publish,
        bind,
    ),
    "producer": (take("{}"), take("{}-results"), make("{}.dead"), remove("{}"), bind),
    "publisher": (take("{}"), take("{}.dead"), make("other"), remove("{}-results"), publish, bind),
    "operator": (
        take("{}"), take("{}-results"), make("{}.dead"), make("{}.dead.reader.x"), remove("{}"),
        remove("{}.dead"), bind,
    ),
}  # fmt: skip


def test_each_is_refused_what_is_not_its_own(fleet: Fleet, users: Users) -> None:
    with fleet.channel() as channel:
        channel.queue_declare(f"{fleet.job_queue}.dead", durable=True)
        channel.queue_declare("other", durable=True)
    for user, requests in NOT_ALLOWED.items():
        for number, request in enumerate(requests):
            with fleet.channel(users.amqp(user)) as channel:
                with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
                    request(channel, fleet)
                assert caught.value.reply_code == 403, (user, number)


def test_who_may_not_write_can_t_use_up_what_a_queue_allows(fleet: Fleet, users: Users) -> None:
    """Looked at by somebody who could renew nothing, they would be gone after three times."""
    dead = f"{fleet.job_queue}.dead"
    with fleet.channel() as channel:
        limited = {"x-queue-type": "quorum", "x-delivery-limit": 3}
        channel.queue_declare(dead, durable=True, arguments=limited)
        channel.basic_publish("", dead, body("parked"))
    for user in ("exporter", "publisher", "worker"):
        for _ in range(6):
            settings = load_settings(fleet.environment(RABBIT_URL=users.amqp(user)))
            with (
                pytest.raises(BrokerError, match=r"ACCESS_REFUSED|access"),
                JobQueue.connect(settings) as jobs,
            ):
                ParkedJobs(jobs).all()
    with JobQueue.connect(load_settings(fleet.environment())) as jobs:
        assert [entry.job_id for entry in ParkedJobs(jobs).all()] == ["parked"]
