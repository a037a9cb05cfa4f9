"""Workers keep every job whole while broker, ledger, network or the workers themselves fail."""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pika
import pytest

from common.records import Outcome, WorkerRecord, WorkerState
from demo.stack import Stack
from tests.support.crashing import crash
from tests.support.fault_proxy import FaultProxy
from tests.support.waiting import until
from tests.support.worker_fleet import Fleet, body
from worker import messages
from worker.envelope import Envelope, short_text
from worker.messages import Delivery
from worker.storage import is_whole_mp4

pytestmark = pytest.mark.integration


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack that may be broken."""
    with Stack(tmp_path / "stack") as stack:
        yield stack.start("redis", "rabbitmq")


@pytest.fixture
def own(own_stack: Stack, small_video: Path, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(own_stack, tmp_path, small_video)
    yield fleet
    fleet.stop()


def restart(stack: Stack, name: str) -> None:
    part = stack.parts[name]
    part.stop(30)
    part.start().wait_ready()


def crash_and_restart(stack: Stack, name: str) -> None:
    part = stack.parts[name]
    crash(part)
    part.start().wait_ready()


def done_count(fleet: Fleet) -> int:
    (counters,) = [c for c in fleet.ledger.counters() if c.queue == fleet.job_queue]
    return counters.outcomes.get(Outcome.DONE, 0)


def test_a_killed_workers_job_is_finished_by_another_and_announced_once(fleet: Fleet) -> None:
    fleet.start("w1")
    fleet.ready("w1")
    job = fleet.submit("sleep 12")
    until(lambda: fleet.renders(job))
    fleet.start("w2")
    fleet.ready("w2")
    fleet.signal("w1", signal.SIGKILL)
    until(lambda: fleet.status(job) == "done")
    assert fleet.announced() == [job]
    assert fleet.renders(job) == 2


def test_a_result_that_is_whole_is_announced_and_not_rendered_again(fleet: Fleet) -> None:
    fleet.output.mkdir()
    whole, torn = "job-whole", "job-torn"
    content = fleet.video.read_bytes()
    (fleet.output / f"{whole}.mp4").write_bytes(content)
    (fleet.output / f"{torn}.mp4").write_bytes(content[:-500])
    fleet.start()
    fleet.ready()
    fleet.submit("fast", whole)
    fleet.submit("fast", torn)
    until(lambda: fleet.status(whole) == fleet.status(torn) == "done")
    assert sorted(fleet.announced()) == [torn, whole]
    assert fleet.renders(whole) == 0
    assert fleet.renders(torn) == 1


def test_a_second_worker_waits_for_the_first_and_its_result(fleet: Fleet, tmp_path: Path) -> None:
    for name in ("w1", "w2"):
        fleet.start(name)
        fleet.ready(name)
    go_on = tmp_path / "go on"
    job = fleet.submit(f"await {go_on}", message_id="order1")
    until(lambda: fleet.renders(job))
    fleet.submit("fast", job, message_id="order1")  # the same order twice, as after a partition
    until(lambda: fleet.happened("put off") > 0, what="the copy is put off")
    go_on.touch()
    until(lambda: fleet.happened("settled by an earlier holder") > 0)
    assert fleet.status(job) == "done"
    assert fleet.announced() == [job]
    assert fleet.renders(job) == 1


def test_a_worker_asks_the_ledger_before_it_takes_its_first_job(
    fleet: Fleet, tmp_path: Path
) -> None:
    """The broker is there at once, the ledger's first answer comes late."""
    go_on = tmp_path / "go on"
    fleet.start("w1")
    job = fleet.submit(f"await {go_on}", message_id="order1")
    until(lambda: fleet.renders(job))
    fleet.submit("fast", job, message_id="order1")
    with FaultProxy(fleet.stack.redis_port) as proxy:
        proxy.freeze()
        fleet.start("w2", REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0")
        until(lambda: fleet.depth(fleet.job_queue) == 0, what="w2 has the copy in hand")
        time.sleep(0.5)  # the ledger keeps it waiting, for less than makes it give the ledger up
        proxy.thaw()
        until(lambda: fleet.happened("put off") > 0, what="the copy is put off")
        go_on.touch()
        until(lambda: fleet.happened("settled by an earlier holder") > 0)
    assert fleet.renders(job) == 1


def test_a_broker_restart_in_mid_render_does_not_waste_the_render(own: Fleet) -> None:
    own.start()
    own.ready()
    job = own.submit("sleep 20")
    until(lambda: own.renders(job))
    restart(own.stack, "rabbitmq")
    assert own.status(job) == "rendering"
    until(lambda: own.status(job) == "done")
    assert own.announced() == [job]
    assert own.renders(job) == 1


def test_what_a_new_queue_has_confirmed_outlives_a_crash_of_the_broker(
    own: Fleet, tmp_path: Path
) -> None:
    """The worker makes the queues that a retry and a parked job need when it needs them."""
    own.start(JOB_RETRY_DELAY="1")
    own.ready()
    retried = own.submit(f"once {tmp_path / 'seen'}")
    until(lambda: own.happened("job failed"))
    crash_and_restart(own.stack, "rabbitmq")
    until(lambda: own.status(retried) == "done")
    refused = own.submit("permanent")
    until(lambda: own.happened("job failed") >= 2)
    crash_and_restart(own.stack, "rabbitmq")
    # A broker that is killed may forget an acknowledgement, and that it had delivered at all.
    assert set(own.announced()) == {retried}
    parked = until(lambda: own.take(f"{own.job_queue}.dead"))
    assert {json.loads(raw)["job_id"] for _, raw in parked} == {refused}


def test_a_broker_that_seems_to_be_there_and_is_not(own: Fleet) -> None:
    """A network that swallows everything: the broker hands the job to another worker."""
    with FaultProxy(own.stack.amqp_port) as proxy:
        through = f"amqp://guest:guest@127.0.0.1:{proxy.port}/"
        own.start("w1", RABBIT_URL=through, AMQP_HEARTBEAT="2")
        own.ready("w1")
        job = own.submit("sleep 15")
        until(lambda: own.renders(job))
        own.start("w2")
        own.ready("w2")
        proxy.freeze()
        until(lambda: own.status(job) == "done")
        proxy.thaw()
        until(lambda: own.depth(own.job_queue) == 0 and own.status(job) == "done")
        time.sleep(6)
    assert own.announced() == [job]
    assert own.renders(job) == 1  # the second worker put it off until the first one's was there


def test_heartbeats_go_on_through_a_long_render(fleet: Fleet) -> None:
    """Twenty heartbeat intervals; the broker gives up after two."""
    fleet.start(AMQP_HEARTBEAT="1")
    fleet.ready()
    job = fleet.submit("sleep 20")
    until(lambda: fleet.status(job) == "done")
    assert fleet.renders(job) == 1
    assert not [e for e in fleet.events("w1") if e["event"] == "no broker connection"]


def test_with_the_ledger_away_jobs_go_on_and_are_counted_once_later(own: Fleet) -> None:
    own.start()
    own.ready()
    before = own.submit("fast")
    until(lambda: own.status(before) == "done")
    own.stack.parts["redis"].stop()
    jobs = [own.submit("fast") for _ in range(5)]
    announced: list[str] = []

    def all_announced() -> bool:
        announced.extend(own.announced())
        return len(announced) >= 6

    until(all_announced)
    assert sorted(announced) == sorted([before, *jobs])
    own.stack.parts["redis"].start().wait_ready()
    until(lambda: done_count(own) == 6)
    assert {own.status(job) for job in jobs} == {"done"}
    time.sleep(1)
    assert done_count(own) == 6


@pytest.mark.parametrize("dead", [1, 2])
def test_what_a_dead_worker_had_settled_is_acknowledged_and_not_made_again(
    fleet: Fleet, dead: int
) -> None:
    """It died between telling the ledger and acknowledging, be it the second that died of it."""
    job = "job-settled"
    fleet.output.mkdir()
    (fleet.output / f"{job}.mp4").write_bytes(fleet.video.read_bytes())
    fleet.ledger.mark_settled(f"{job}.order1.0.0", "done", ttl_s=60)
    order = Envelope({"message_id": short_text("order1")})
    fingerprint = Delivery(0, 0, body(job), envelope=order).fingerprint
    now = fleet.ledger.now()
    for name in ("w8", "w9")[:dead]:
        record = WorkerRecord(
            id=name,
            instance=name,
            queue=fleet.job_queue,
            status=WorkerState.BUSY,
            status_since=now,
            started_at=now,
            last_seen=now,
        )
        fleet.ledger.begin_handling(fingerprint, record)
    with fleet.channel() as channel:
        ordered = pika.BasicProperties(message_id="order1")
        channel.basic_publish("", fleet.job_queue, body(job), ordered)
        channel.basic_get(fleet.job_queue)  # the first worker had it
    fleet.start()
    fleet.ready()
    until(lambda: fleet.happened("settled by an earlier holder"))
    until(lambda: fleet.depth(fleet.job_queue) == 0)
    assert fleet.announced() == []
    assert fleet.renders(job) == 0


@pytest.mark.parametrize("there", [True, False], ids=["video there", "video gone"])
def test_an_order_that_was_put_off_first_is_judged_by_how_it_ended(
    fleet: Fleet, there: bool
) -> None:
    """That this step of it was put off says nothing once another has brought it to its end."""
    job = f"job-put-off-{there}"
    if there:
        fleet.output.mkdir(exist_ok=True)
        (fleet.output / f"{job}.mp4").write_bytes(fleet.video.read_bytes())
    fleet.ledger.mark_settled(f"{job}.order1.0.0", messages.PUT_OFF, ttl_s=60)
    fleet.ledger.mark_settled(f"{job}.order1", "done", ttl_s=60)
    fleet.publish(body(job), message_id="order1")
    with fleet.channel() as channel:
        until(lambda: channel.basic_get(fleet.job_queue)[0], "another worker had it")
    fleet.start()
    fleet.ready()
    if there:
        until(lambda: fleet.happened("settled by an earlier holder"))
    else:
        until(lambda: fleet.depth(fleet.result_queue) == 1, explain=fleet.log("w1").read_text)
    until(lambda: fleet.depth(fleet.job_queue) == 0)
    assert fleet.announced() == ([] if there else [job])
    assert fleet.renders(job) == (0 if there else 1)


@pytest.mark.parametrize("message_id", [None, "order1"])
def test_a_mark_is_not_believed_without_a_video(fleet: Fleet, message_id: str | None) -> None:
    """Neither of an earlier order for the same job, nor where the video has gone since."""
    job = "job-again"
    raw = body(job)
    fleet.start()
    fleet.ready()
    fleet.publish(raw, message_id=message_id)
    until(lambda: fleet.announced() == [job])
    until(lambda: fleet.ledger.worker("w1").status is WorkerState.IDLE)  # type: ignore[union-attr]
    (fleet.output / f"{job}.mp4").unlink()
    fleet.signal("w1", signal.SIGKILL)
    fleet.exit_code("w1")
    fleet.publish(raw, message_id=message_id)
    with fleet.channel() as channel:
        until(lambda: channel.basic_get(fleet.job_queue)[0], "another worker had it")
    fleet.start("w2")
    said = fleet.log("w2").read_text
    assert until(fleet.announced, "the order is answered", explain=said) == [job]
    assert fleet.renders(job) == 2


@pytest.mark.parametrize(
    ("title", "words"), [("fast", b'"storage_path"'), ("permanent", b'"permanent"')]
)
def test_a_connection_cut_between_publishing_and_its_confirmation(
    fleet: Fleet, title: str, words: bytes
) -> None:
    """Nobody can know whether it was published, so it is again, and can be told to be the same."""
    with FaultProxy(fleet.stack.amqp_port) as proxy:
        fleet.start(RABBIT_URL=f"amqp://guest:guest@127.0.0.1:{proxy.port}/")
        fleet.ready()
        proxy.cut_after(words)
        job = fleet.submit(title, message_id="order1")
        until(lambda: fleet.happened("no broker connection"))
        end = "done" if title == "fast" else "error"
        until(lambda: fleet.status(job) == end and fleet.depth(fleet.job_queue) == 0)
        until(lambda: not fleet.ledger.worker("w1").has_job)  # type: ignore[union-attr]
    assert fleet.renders(job) == 1 if title == "fast" else fleet.renders(job) <= 2
    queue = fleet.result_queue if title == "fast" else f"{fleet.job_queue}.dead"
    found = fleet.take(queue)
    assert len(found) in (1, 2)
    assert {properties.message_id for properties, _ in found} == {
        job if title == "fast" else "order1"
    }
    if title == "fast":
        assert {p.headers["x-order"] for p, _ in found} == {f"{job}.order1"}
    (counters,) = [c for c in fleet.ledger.counters() if c.queue == fleet.job_queue]
    assert sum(counters.outcomes.values()) == 1


@pytest.mark.timeout(330)
def test_storm(own: Fleet) -> None:
    """300 jobs, 6 workers; workers, broker, ledger and network fail over and over."""
    seed = random.randrange(10**6)
    sys.stdout.write(f"storm seed: {seed}\n")
    rng = random.Random(seed)
    jobs = [f"storm-{n:03d}" for n in range(300)]
    with own.channel() as channel:
        for job in jobs:
            raw = body(job, f"sleep {rng.uniform(0.1, 0.9):.2f}")
            channel.basic_publish("", own.job_queue, raw, pika.BasicProperties(delivery_mode=2))
        # There since the first days of the fleet: who makes it holds its job for two seconds, and a
        # kill in these would be the job's second.
        late = messages.deferred(Delivery(0, 0, b"{}"), own.job_queue)
        arguments = messages.own_arguments(own.job_queue, late)
        channel.queue_declare(late.queue, durable=True, arguments=arguments)
    with FaultProxy(own.stack.amqp_port) as proxy:
        storm = Storm(own, proxy, rng)
        storm.rage()
        storm.calm(jobs)
    announced = storm.announced
    parked = [job_parked_for_two_deaths(own, *taken) for taken in storm.parked]
    # Two kills may hit one job by chance. Each other is done, and none is both or neither.
    assert sorted([*announced, *parked]) == jobs
    assert len(parked) <= storm.kills // 2
    # A confirmation that a kill or a cut swallowed is the only reason to announce again.
    again = announced.total() - len(announced)
    assert again <= storm.kills + storm.cuts
    for job in announced:
        with (own.output / f"{job}.mp4").open("rb") as file:
            assert is_whole_mp4(file, (own.output / f"{job}.mp4").stat().st_size)
        assert own.status(job) == "done"
    assert storm.kills >= 10
    renders = sum(map(own.renders, jobs))
    sys.stdout.write(f"kills: {storm.kills}; renders: {renders}; announced again: {again}\n")


def job_parked_for_two_deaths(fleet: Fleet, properties: Any, raw: bytes) -> str:
    """The parked job. Two workers were killed while they had it, and its status is error."""
    job: str = json.loads(raw)["job_id"]
    assert "2 workers, or their sessions with the broker" in properties.headers["x-error"]
    assert fleet.renders(job) >= 1
    assert fleet.status(job) == "error"
    return job


class Storm:
    """What goes wrong, and when."""

    def __init__(self, fleet: Fleet, proxy: FaultProxy, rng: random.Random) -> None:
        self._fleet = fleet
        self._proxy = proxy
        self._rng = rng
        self.kills = 0
        self.cuts = 4 * 6  # two of the network, two restarts of the broker, for six workers each
        self._names = [self._start() for _ in range(6)]
        self._ends = (fleet.result_queue, f"{fleet.job_queue}.dead")
        self.announced: Counter[str] = Counter()
        self.parked: list[tuple[Any, bytes]] = []

    def rage(self) -> None:
        """Until most jobs are done: a kill every few seconds, the rest at its time."""
        stack, began = self._fleet.stack, time.monotonic()
        events: list[tuple[float, Any]] = [
            (8, lambda: self._proxy.cut(self._rng)),
            (12, lambda: restart(stack, "rabbitmq")),
            (24, lambda: restart(stack, "redis")),
            (32, lambda: restart(stack, "rabbitmq")),
            (48, lambda: self._proxy.cut(self._rng)),
        ]
        while events or self._left() > 30:
            assert time.monotonic() - began < 200, "the storm does not end"
            time.sleep(self._rng.uniform(1, 4))
            self._kill()
            while events and time.monotonic() - began > events[0][0]:
                events.pop(0)[1]()

    def calm(self, jobs: Sequence[str]) -> None:
        """Until each of the jobs has come to its end, and nothing is left to do."""

        def missing() -> set[str]:
            self._collect()
            parked = {str(json.loads(raw)["job_id"]) for _, raw in self.parked}
            return {*jobs} - {*self.announced} - parked

        until(lambda: not missing(), every_s=0.5, what="all done", explain=missing)
        until(self._idle, every_s=0.5, what="all idle")
        self._collect()

    def _collect(self) -> None:
        self.announced.update(self._fleet.announced())
        self.parked += self._fleet.take(f"{self._fleet.job_queue}.dead")

    def _left(self) -> int:
        try:
            return 300 - sum(map(self._fleet.depth, self._ends))
        except pika.exceptions.AMQPError:
            return 300

    def _idle(self) -> bool:
        alive = [w for w in self._fleet.ledger.workers() if w.id in self._names]
        queues = ("", ".retry.5", ".retry.20")
        waiting = sum(self._fleet.depth(self._fleet.job_queue + suffix) for suffix in queues)
        return waiting == 0 and len(alive) == 6 and not any(w.has_job for w in alive)

    def _kill(self) -> None:
        index = self._rng.randrange(len(self._names))
        self._fleet.signal(self._names[index], signal.SIGKILL)
        self._fleet.processes[self._names[index]].wait()
        self.kills += 1
        self._names[index] = self._start()

    def _start(self) -> str:
        name = f"s{len(self._fleet.processes)}"
        url = f"amqp://guest:guest@127.0.0.1:{self._proxy.port}/"
        return self._fleet.start(name, RABBIT_URL=url)
