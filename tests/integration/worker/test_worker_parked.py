"""Parked jobs: looking changes nothing, and nothing that is done to some touches the others."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pika
import pytest

from tests.support.waiting import until
from tests.support.worker_fleet import ROOT, Fleet, body
from worker import messages
from worker.dead import ParkedJobs
from worker.envelope import Envelope, WireProperties, short_text
from worker.job_queue import BrokerError, JobQueue
from worker.settings import load_settings

pytestmark = pytest.mark.integration


def string(text: bytes) -> bytes:
    return b"S" + struct.pack(">I", len(text)) + text


def nested(depth: int) -> bytes:
    """Lists in lists, as a header's value."""
    value = b"V"
    for _ in range(depth):
        value = b"A" + struct.pack(">I", len(value)) + value
    return value


def parked_messages(depth: int = 800) -> list[tuple[bytes, Envelope]]:
    """Of every kind that there may be."""
    # All of one priority, which a quorum queue of RabbitMQ 4 would sort them by.
    kept = {"delivery_mode": b"\x02", "priority": b"\x07"}
    plain = Envelope({**kept, "message_id": short_text("m")})
    everything = Envelope(
        {
            **kept,
            "content_type": short_text("application/json"),
            "correlation_id": short_text("c"),
            "reply_to": short_text("answers"),
            "message_id": b"\x04\xff\xfe\x00x",
            "timestamp": b"\xff" * 8,
            "type": short_text("dialogue"),
            "app_id": short_text("producer"),
        },
        (
            ("x-mine", b"f" + struct.pack(">f", 0.5)),
            ("x-mine-too", b"B\xff"),
            ("x-bytes", string(b"\xff\xfe\x00")),
            (messages.ERROR, string(b"broken \x1b[2J \xe2\x80\xae")),
            (messages.HISTORY, string(b"[" * 5_000)),
            (messages.ATTEMPT, b"l" + struct.pack(">q", 3)),
            ("x-death", b"A" + struct.pack(">I", 0)),
        ),
    )
    deep = Envelope(kept, (("x-history", nested(depth)),))
    return [
        (body("first"), plain),
        (b"[" * 100_000, everything),
        (b"\xff\x1b]0;title\x07", deep),
        (body("first"), plain),
        (body("last"), everything),
    ]


QUORUM = {"x-queue-type": "quorum"}
FULL = {"x-max-length": 5, "x-overflow": "reject-publish"}
BYTES = sum(len(raw) for raw, _ in parked_messages()[:-1])
QUEUES: dict[str, dict[str, Any]] = {
    "quorum": {**QUORUM, "x-delivery-limit": 20},
    "quorum, one return at most": {**QUORUM, "x-delivery-limit": 1},
    "quorum, full": {**QUORUM, "x-delivery-limit": 3, **FULL},
    "quorum, full by bytes": {
        **QUORUM, "x-delivery-limit": 3, "x-max-length-bytes": BYTES,
        "x-overflow": "reject-publish",
    },
    "classic": {},
    "classic, full": FULL,
}  # fmt: skip


@contextmanager
def jobs_of(fleet: Fleet, **settings: str) -> Iterator[JobQueue]:
    with JobQueue.connect(load_settings(fleet.environment(**settings))) as jobs:
        yield jobs


def park(fleet: Fleet, arguments: dict[str, Any], depth: int = 800) -> list[tuple[bytes, bytes]]:
    """Messages in a dead queue of the owner's; their bodies and encoded properties."""
    sent = parked_messages(depth)
    with fleet.channel() as channel:
        channel.confirm_delivery()
        channel.queue_declare(dead(fleet), durable=True, arguments=arguments)
        for raw, envelope in sent:
            channel.basic_publish("", dead(fleet), raw, WireProperties(envelope), mandatory=True)
    return [(raw, wire(envelope)) for raw, envelope in sent]


def wire(envelope: Envelope) -> bytes:
    """All of it, but what the broker itself adds and changes: its counts, the order of headers."""
    counts = ("x-delivery-count", "x-acquired-count")
    kept = sorted(pair for pair in envelope.headers if pair[0] not in counts)
    return Envelope(envelope.properties, tuple(kept)).encode()


def dead(fleet: Fleet) -> str:
    return f"{fleet.job_queue}.dead"


def left(fleet: Fleet) -> list[tuple[bytes, bytes]]:
    """What is in the dead queue, without the broker's own count. It is taken out."""
    until(lambda: no_reader(fleet))
    return [(raw, wire(properties.envelope)) for properties, raw in fleet.take(dead(fleet))]


def no_reader(fleet: Fleet) -> bool:
    with fleet.channel() as channel:
        try:
            channel.queue_declare(f"{dead(fleet)}.reader", passive=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            return bool(error.reply_code == 404)
    return False


def policy(fleet: Fleet, definition: dict[str, Any]) -> None:
    url = f"{fleet.stack.management_url}/api/policies/%2f/{fleet.job_queue}"
    content = {"pattern": f"^{fleet.job_queue}[.]dead$", "definition": definition}
    login = {"Authorization": f"Basic {b64encode(b'guest:guest').decode()}"}
    headers = {**login, "Content-Type": "application/json"}
    request = urllib.request.Request(
        url, json.dumps(content).encode(), headers=headers, method="PUT"
    )
    urllib.request.urlopen(request).close()

    def applied() -> bool:
        queue = f"{fleet.stack.management_url}/api/queues/%2f/{dead(fleet)}"
        with urllib.request.urlopen(urllib.request.Request(queue, headers=login)) as answer:
            return bool(json.load(answer).get("effective_policy_definition") == definition)

    until(applied)


@pytest.mark.parametrize("kind", QUEUES)
def test_looking_a_hundred_times_changes_nothing(fleet: Fleet, kind: str) -> None:
    sent = park(fleet, QUEUES[kind])
    for _ in range(100):
        with jobs_of(fleet) as jobs:
            found = ParkedJobs(jobs).all()
        assert [entry.body for entry in found] == [raw for raw, _ in sent]
    assert left(fleet) == sent


def test_looking_at_a_queue_that_has_become_too_small_changes_nothing(fleet: Fleet) -> None:
    sent = park(fleet, {**QUORUM, "x-delivery-limit": 3})
    policy(fleet, {"overflow": "reject-publish"})
    policy(fleet, {"overflow": "reject-publish", "max-length": 1})
    for _ in range(20):
        with jobs_of(fleet) as jobs:
            assert len(ParkedJobs(jobs).all()) == 5
    assert left(fleet) == sent


def test_headers_however_deep_stay_as_they_are(fleet: Fleet) -> None:
    sent = park(fleet, QUEUES["quorum"], depth=10_000)
    for _ in range(3):
        with jobs_of(fleet) as jobs:
            assert len(ParkedJobs(jobs).all()) == 5
    assert left(fleet) == sent


def test_two_at_once_each_see_everything_and_lose_nothing(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.dead._LOCKED_S", 250)  # on a slow machine, too
    sent = park(fleet, QUEUES["quorum"])
    seen: list[int] = []

    def look() -> None:
        for _ in range(15):
            with jobs_of(fleet) as jobs:
                seen.append(len(ParkedJobs(jobs).all()))

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    for looker in lookers:
        looker.join()
    assert seen == [5] * 45
    assert left(fleet) == sent


def test_whatever_others_hold_or_park_meanwhile_is_neither_lost_nor_doubled(fleet: Fleet) -> None:
    sent = park(fleet, QUEUES["quorum"])
    stop = threading.Event()
    parked: list[bytes] = []

    def others() -> None:
        """By other means than ours: takes the first and gives it back, a few times; parks more."""
        with fleet.channel() as channel:
            channel.confirm_delivery()
            while len(parked) < 60 and not stop.is_set():
                method = channel.basic_get(dead(fleet))[0] if len(parked) % 6 == 0 else None
                raw = body(f"further-{len(parked)}")
                channel.basic_publish("", dead(fleet), raw, pika.BasicProperties(delivery_mode=2))
                parked.append(raw)
                if method is not None:
                    channel.basic_nack(method.delivery_tag, requeue=True)

    other = threading.Thread(target=others)
    other.start()
    for _ in range(12):
        with jobs_of(fleet) as jobs:
            ParkedJobs(jobs).all()
    stop.set()
    other.join()
    assert sorted(raw for raw, _ in left(fleet)) == sorted([*parked, *(raw for raw, _ in sent)])


def test_a_look_that_is_broken_off_loses_nothing(fleet: Fleet) -> None:
    sent = park(fleet, QUEUES["quorum"])
    for _ in range(30):
        with pytest.raises(BrokerError), jobs_of(fleet) as jobs, ParkedJobs(jobs)._taken():
            jobs.channel.queue_declare("amq.not-ours")  # refused, which closes the channel
        until(lambda: fleet.depth(dead(fleet)) == 5)
        with jobs_of(fleet) as jobs:
            ParkedJobs(jobs).all()
    assert left(fleet) == sent


def choose(places: set[int], _: object) -> set[int]:
    return places


def test_requeued_are_as_their_producer_made_them_and_the_others_stay(fleet: Fleet) -> None:
    sent = park(fleet, QUEUES["quorum"])
    for chosen in ({4}, {1, 3}):
        with jobs_of(fleet) as jobs:
            assert ParkedJobs(jobs).requeue(partial(choose, chosen)) == len(chosen)
        for _ in range(20):
            with jobs_of(fleet) as jobs:
                ParkedJobs(jobs).all()
    assert left(fleet) == [sent[0], sent[2]]
    back = fleet.take(fleet.job_queue)
    assert [raw for _, raw in back] == [sent[4][0], sent[1][0], sent[3][0]]
    envelope: Envelope = back[0][0].envelope
    original = parked_messages()[4][1]
    own = ("priority", "correlation_id", "reply_to", "type", "app_id", "content_type")
    assert {envelope.properties[name] for name in own} == {
        original.properties[name] for name in own
    }
    kept = ("x-mine", "x-mine-too", "x-bytes")
    assert sorted(pair for pair in envelope.headers if pair[0] != "timestamp_in_ms") == sorted(
        pair for pair in original.headers if pair[0] in kept
    )
    # Another order: the old one has been settled.
    assert envelope.text("message_id") not in ("", original.text("message_id"))
    assert len({properties.message_id for properties, _ in back}) == 3


def test_dropped_are_gone_and_the_others_stay(fleet: Fleet) -> None:
    sent = park(fleet, QUEUES["quorum"])
    with jobs_of(fleet) as jobs:
        assert ParkedJobs(jobs).drop(lambda _: {0, 2}) == 2
    for _ in range(25):
        with jobs_of(fleet) as jobs:
            assert ParkedJobs(jobs).drop(lambda _: ()) == 0
    assert left(fleet) == [sent[1], sent[3], sent[4]]


def test_a_job_queue_that_refuses_leaves_what_is_parked(fleet: Fleet) -> None:
    sent = park(fleet, QUEUES["quorum"])
    with fleet.channel() as channel:
        channel.queue_delete(fleet.job_queue)
        refuses = {"x-max-length": 1, "x-overflow": "reject-publish"}
        channel.queue_declare(fleet.job_queue, durable=True, arguments=refuses)
    for handed_back in (1, 0):
        with (
            pytest.raises(BrokerError, match=f"{handed_back} of . handed back"),
            jobs_of(fleet) as jobs,
        ):
            ParkedJobs(jobs).requeue(lambda parked: range(len(parked)))
    with fleet.channel() as channel:
        channel.queue_delete(fleet.job_queue)
    with pytest.raises(BrokerError, match="0 of 4 handed back"), jobs_of(fleet) as jobs:
        ParkedJobs(jobs).requeue(lambda parked: range(len(parked)))
    assert left(fleet) == sent[1:]


def test_while_somebody_else_works_on_them_one_waits_and_then_says_so(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = park(fleet, QUEUES["quorum"])
    monkeypatch.setattr("worker.dead._LOCKED_S", 0.5)
    with (
        jobs_of(fleet) as jobs,
        ParkedJobs(jobs)._taken(),
        pytest.raises(BrokerError, match="somebody else"),
        jobs_of(fleet) as others,
    ):
        ParkedJobs(others).all()
    assert left(fleet) == sent


def command(fleet: Fleet, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "worker", "dead", *arguments],
        env={**fleet.environment(), "PYTHONIOENCODING": "utf-8"},
        cwd=ROOT,
        capture_output=True,
        check=False,
    )


def test_what_is_printed_is_bounded_and_nothing_that_a_terminal_acts_on(fleet: Fleet) -> None:
    park(fleet, QUEUES["quorum"])
    listing = command(fleet, "list")
    assert listing.returncode == 0
    assert listing.stdout.decode().count("\n") == 5
    for which in ("list", "1", "2", "3", "4", "5"):
        done = command(fleet, *((which,) if which == "list" else ("show", which)))
        assert (done.returncode, done.stderr) == (0, b"")
        text = done.stdout.decode()
        assert len(text) < 60_000
        assert all(line.isprintable() for line in text.splitlines())
    assert r"broken \x1b[2J \u202e" in command(fleet, "show", "2").stdout.decode()
    assert "further bytes" in command(fleet, "show", "2").stdout.decode()


def test_ids_come_before_numbers_and_unknown_ones_change_nothing(fleet: Fleet) -> None:
    with fleet.channel() as channel:
        channel.queue_declare(dead(fleet), durable=True)
        for job in ("2", "b", "c"):
            channel.basic_publish("", dead(fleet), body(job))
    refused = command(fleet, "drop", "c", "unknown\x1b")
    assert refused.returncode == 1
    assert refused.stderr == b"no parked job 'unknown\\x1b'\n"
    assert command(fleet, "drop", "2", "3").stdout == b"2 dropped\n"
    assert [raw for raw, _ in left(fleet)] == [body("b")]


def test_a_broker_that_does_not_answer_is_named_in_one_line(fleet: Fleet) -> None:
    for url in ("amqp://nobody.invalid", "amqp://127.0.0.1:9"):
        fleet.settings = {"RABBIT_URL": url}
        done = command(fleet, "list")
        assert done.returncode == 1
        assert done.stderr.startswith(b"broker: ")
        assert done.stderr.count(b"\n") == 1
