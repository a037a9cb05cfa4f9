"""Whatever comes in, the worker stays, and says of each message why it was parked."""

from __future__ import annotations

import json
import os
import struct
from collections import Counter
from typing import Any, Literal

import pika
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.support.waiting import until
from tests.support.worker_fleet import Fleet, body
from worker.envelope import Envelope, WireProperties
from worker.jobs import InvalidJobError, parse_job
from worker.video.themes import Catalogue

pytestmark = pytest.mark.integration

CATALOGUE = Catalogue.load()
GOOD: dict[str, Any] = {
    "job_id": "job-1",
    "title": "A title",
    "character_theme": "meadow",
    "turns": [{"speaker": "ruby", "text": "Hello."}],
}
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars, lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=8
)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A good job with one field gone, replaced or grown."""
    job = json.loads(json.dumps(GOOD))
    field = draw(
        st.sampled_from(["job_id", "title", "character_theme", "turns", "speaker", "text"])
    )
    place = job["turns"][0] if field in ("speaker", "text") else job
    if draw(st.booleans()):
        del place[field]
    else:
        place[field] = draw(anything | st.just("x" * 5_000) | st.just([GOOD["turns"][0]] * 101))
    return json.dumps(job).encode()


bodies = st.binary(max_size=300) | anything.map(lambda x: json.dumps(x).encode()) | spoiled()


def is_refused(raw: bytes) -> bool:
    try:
        CATALOGUE.check(parse_job(raw))
    except InvalidJobError:
        return True
    return False


def malformed(count: int) -> list[bytes]:
    found: list[bytes] = []

    @seed(20)
    @settings(max_examples=count * 3, database=None, suppress_health_check=list(HealthCheck))
    @given(bodies)
    def collect(raw: bytes) -> None:
        if len(found) < count and is_refused(raw):
            found.append(raw)

    collect()
    return found


def field_value(draw: st.DrawFn, depth: int = 0) -> bytes:
    """A header's value of any type that the broker knows, with its type."""
    plain = {
        b"t": 1, b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"I": 4, b"i": 4, b"l": 8, b"f": 4, b"d": 8,
        b"D": 5, b"T": 8, b"V": 0,
    }  # fmt: skip
    kind = draw(st.sampled_from([*plain, b"S", b"x", b"A", b"F"] if depth < 3 else [*plain]))
    if kind in plain:
        size = plain[kind]
        if kind in (b"f", b"d"):  # the broker has no numbers that are none
            width: Literal[32, 64] = 32 if kind == b"f" else 64
            finite = st.floats(allow_nan=False, allow_infinity=False, width=width)
            return kind + struct.pack(f">{kind.decode()}", draw(finite))
        return kind + (b"\1" if kind == b"t" else draw(st.binary(min_size=size, max_size=size)))
    if kind in (b"S", b"x"):
        content = draw(st.binary(max_size=40))
    else:
        named = kind == b"F"
        entries = range(draw(st.integers(0, 3)))
        content = b"".join(
            (bytes([1, 97 + n]) if named else b"") + field_value(draw, depth + 1) for n in entries
        )
    return kind + struct.pack(">I", len(content)) + content


def nested(depth: int) -> bytes:
    """A list in a list, and so on."""
    value = b"V"
    for _ in range(depth):
        value = b"A" + struct.pack(">I", len(value)) + value
    return value


def text(content: bytes) -> bytes:
    """A long string."""
    return b"S" + struct.pack(">I", len(content)) + content


HOSTILE_HEADERS = st.sampled_from(
    [
        ("x-history", nested(15_000)),
        ("x-history", text(b"[" * 50_000)),
        ("x-history", text(b'[{"a":' * 900 + b"1" + b"}]" * 900)),
        ("x-attempt", nested(3)),
        ("x-attempt", b"l" + b"\x7f" + b"\xff" * 7),
        ("x-deferred", text(b"many")),
        ("timestamp_in_ms", b"d" + struct.pack(">d", 1.7e308)),
        ("timestamp_in_ms", b"l" + b"\x7f" + b"\xff" * 7),
        ("big", text(b"x" * 60_000)),
        ("big", text(b"x" * 129_500)),
        ("x-delivery-count", b"l" + struct.pack(">q", 15)),
    ]
)


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    """Properties of all kinds that a broker lets through."""
    octets = st.binary(max_size=20).map(lambda raw: bytes([len(raw)]) + raw)
    long = st.just(b"\xff" + b"m" * 255)
    stamp = st.sampled_from([0, 1, 1_800_000_000, 1_800_000_000_000, 2**63, 2**64 - 1])
    properties = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "content_type": octets,
                "content_encoding": octets,
                "priority": st.integers(0, 255).map(lambda n: bytes([n])),
                "delivery_mode": st.sampled_from([b"\1", b"\2"]),
                "correlation_id": octets | long,
                "reply_to": octets,
                "expiration": st.just(b"\x073600000"),
                "message_id": octets | long,
                "timestamp": stamp.map(lambda n: n.to_bytes(8, "big")),
                "type": octets,
                "user_id": st.just(b"\5guest"),
                "app_id": octets | long,
                "cluster_id": octets,
            },
        )
    )
    count = draw(st.integers(0, 3))
    headers = [(f"h{n}", field_value(draw)) for n in range(count)]
    if draw(st.integers(0, 5)) == 0:
        headers.append(draw(HOSTILE_HEADERS))
    return Envelope(properties, tuple(headers))


@st.composite
def jobs(draw: st.DrawFn) -> bytes:
    """Mostly what is none; and jobs that are done, fail for good, or come back once."""
    title = draw(st.sampled_from(["fast", "fast", "permanent", "transient", ""]))
    if title:
        return body("gen-0", title)
    deep = st.integers(200, 1_200).map(lambda n: b'{"job_id": ' + b"[" * n + b"]" * n + b"}")
    return draw(bodies | deep)


def generated(count: int) -> list[tuple[Envelope, bytes]]:
    found: list[tuple[Envelope, bytes]] = []

    @seed(21)
    @settings(max_examples=count * 2, database=None, suppress_health_check=list(HealthCheck))
    @given(envelopes(), jobs())
    def collect(envelope: Envelope, raw: bytes) -> None:
        if len(found) < count:
            found.append((envelope, raw.replace(b"gen-0", f"gen-{len(found)}".encode())))

    collect()
    return found


def ends_parked(raw: bytes) -> bool:
    """What is no job, and what fails to the end."""
    return is_refused(raw) or parse_job(raw).title in ("permanent", "transient")


@pytest.mark.timeout(1_800)
def test_two_thousand_messages_of_all_kinds_each_with_a_good_job_after_it(fleet: Fleet) -> None:
    messages = generated(2_000)
    assert len(messages) == 2_000
    names = ["w1", "w2", "w3"]
    for name in names:
        fleet.start(name, JOB_RETRY_DELAY="1", JOB_MAX_RETRIES="1")
    for name in names:
        fleet.ready(name)
    good = [f"good-{n}" for n in range(len(messages))]
    for job in good:  # their videos are there, so that only the way through the queue takes time
        os.link(fleet.video, fleet.output / f"{job}.mp4")
    with fleet.channel() as channel:
        channel.confirm_delivery()
        for (envelope, raw), job in zip(messages, good, strict=True):
            channel.basic_publish("", fleet.job_queue, raw, WireProperties(envelope))
            channel.basic_publish("", fleet.job_queue, body(job), pika.BasicProperties())
    expected = Counter(raw for _, raw in messages if ends_parked(raw))
    done = len(good) + sum(not ends_parked(raw) for _, raw in messages)
    until(lambda: fleet.depth(fleet.result_queue) == done, "all done", timeout_s=1_500)
    until(lambda: fleet.depth(f"{fleet.job_queue}.dead") == expected.total(), "all parked")
    assert [fleet.processes[name].poll() for name in names] == [None] * 3
    assert fleet.happened("no broker connection") == 0, "no message has ended a session"
    assert set(good) <= set(fleet.announced())
    assert Counter(raw for _, raw in fleet.take(f"{fleet.job_queue}.dead")) == expected


def test_two_hundred_malformed_bodies(fleet: Fleet) -> None:
    big = b'{"job_id": "big", "x": "' + b"y" * 300_000 + b'"}'
    raws = [*malformed(198), b"[" * 100_000, big]
    assert len(raws) == 200
    fleet.start()
    fleet.ready()
    with fleet.channel() as channel:
        for raw in raws:
            channel.basic_publish("", fleet.job_queue, raw, pika.BasicProperties(delivery_mode=2))
    job = fleet.submit("fast")
    until(lambda: fleet.status(job) == "done")
    assert fleet.processes["w1"].poll() is None
    parked = fleet.take(f"{fleet.job_queue}.dead")
    assert sorted(raw for _, raw in parked) == sorted(raws)
    for properties, _ in parked:
        assert "is not allowed; allowed: " in properties.headers["x-error"]
