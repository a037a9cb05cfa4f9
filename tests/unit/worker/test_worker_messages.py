"""Deliveries, their history, and where they go next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import messages
from worker.envelope import Envelope, short_text
from worker.jobs import Result
from worker.messages import Blame, Delivery

BLAME = Blame("it broke", "w1", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def delivery(
    headers: Mapping[str, str | int] | None = None, *, redelivered: bool = False
) -> Delivery:
    properties = {
        "message_id": short_text("m"),
        "timestamp": (100).to_bytes(8, "big"),
        "priority": b"\x03",
        "user_id": short_text("producer"),
        "expiration": short_text("1000"),
    }
    envelope = Envelope(properties).amended(headers or {})
    return Delivery(1, 1, b"body", redelivered, envelope)


def again(message: messages.Outgoing) -> Delivery:
    """What was sent on, as it is delivered."""
    return Delivery(2, 9, message.body, envelope=message.envelope)


def history(message: messages.Outgoing) -> list[dict[str, Any]]:
    return messages.read_history(message.envelope)


def test_a_retried_message_counts_and_remembers() -> None:
    before = delivery({"kept": "yes", "CC": "elsewhere", "x-death": "", "x-delivery-count": 3})
    first = messages.retried(before, "jobs", 5, BLAME)
    assert (first.queue, first.delay_s, first.body) == ("jobs.retry.5", 5, b"body")
    sent = first.envelope
    assert (sent.text("message_id"), sent.number("timestamp")) == ("m", 100)
    assert sent.header("kept") == "yes"
    assert not {"x-death", "CC", "x-delivery-count"} & {name for name, _ in sent.headers}
    assert again(first).attempt == 1
    assert again(first).seen_before
    second = messages.retried(again(first), "jobs", 5, BLAME)
    assert second.queue == "jobs.retry.20"
    assert [(h["attempt"], h["worker"], h["error"]) for h in history(second)] == [
        (1, "w1", "it broke"),
        (2, "w1", "it broke"),
    ]
    assert history(second)[0]["at"] == "2026-01-02T03:04:05.000+00:00"


@pytest.mark.parametrize("make", [messages.retried, messages.parked, messages.deferred])
def test_properties_are_passed_on_but_those_that_would_do_harm(make: Any) -> None:
    arguments = {messages.retried: (5, BLAME), messages.parked: (BLAME,), messages.deferred: ()}
    sent = make(delivery(), "jobs", *arguments[make]).envelope
    assert sent.number("priority") == 3
    assert sent.number("delivery_mode") == 2
    assert sent.text("user_id") == sent.text("expiration") == ""


def test_delays_grow_up_to_an_hour() -> None:
    assert [messages.delay_s(5, n) for n in (1, 2, 3)] == [5, 20, 80]
    assert messages.delay_s(5, 20) == 3600


def test_a_deferred_message_is_another_step_of_the_same_order() -> None:
    before = delivery({"x-attempt": 2})
    message = messages.deferred(before, "jobs")
    after = again(message)
    assert message.queue == "jobs.retry.5"
    assert after.attempt == 2
    assert after.identity("job") == before.identity("job")
    assert after.step("job") != before.step("job")
    assert after.fingerprint == before.fingerprint


def test_orders_without_an_id_differ_by_time_and_content() -> None:
    def nameless(body: bytes, timestamp: int) -> Delivery:
        envelope = Envelope({"timestamp": timestamp.to_bytes(8, "big")})
        return Delivery(1, 1, body, envelope=envelope)

    orders = [nameless(b"a", 1), nameless(b"a", 2), nameless(b"b", 1)]
    assert len({order.identity("job") for order in orders}) == 3
    assert nameless(b"a", 1).identity("job") == orders[0].identity("job")


def test_a_retry_forgets_deferrals() -> None:
    message = messages.retried(delivery({"x-deferred": 3}), "jobs", 5, BLAME)
    assert again(message).deferred == 0


def test_a_parked_message_keeps_body_error_and_history() -> None:
    message = messages.parked(delivery(), "jobs", BLAME)
    assert (message.queue, message.body, message.delay_s) == ("jobs.dead", b"body", None)
    assert message.envelope.header("x-error") == "it broke"
    assert len(history(message)) == 1


def test_what_is_quarantined_takes_nothing_along_but_body_and_id() -> None:
    message = messages.quarantined(delivery({"mine": "x"}), "jobs", "it ended two workers")
    assert {name for name, _ in message.envelope.headers} == {"x-outcome", "x-error"}
    assert set(message.envelope.properties) == {"message_id", "delivery_mode"}
    assert message.body == b"body"


def test_history_does_not_grow_without_end() -> None:
    long = json.dumps([{"attempt": n} for n in range(100)])
    message = messages.parked(delivery({"x-history": long}), "jobs", BLAME)
    assert len(history(message)) == 25


@pytest.mark.parametrize(
    "text",
    ["[" * 50_000, '[{"a":' * 900 + "1" + "}]" * 900, "[" + "9" * 6_000 + "]", "{}", "[1]"],
    ids=["deep", "nearly too deep", "a long number", "no list", "no entries"],
)
def test_no_history_is_too_strange(text: str) -> None:
    message = messages.parked(delivery({"x-history": text}), "jobs", BLAME)
    assert history(message)[-1]["error"] == "it broke"


def test_what_exceeds_a_frame_loses_its_history_first_and_then_its_headers() -> None:
    before = delivery({"x-history": json.dumps([{"error": "e" * 900}] * 20)})
    retried = messages.retried(before, "jobs", 5, BLAME)
    assert messages.fitted(retried, before, "jobs", retried.header_bytes) is retried
    shorter = messages.fitted(retried, before, "jobs", retried.header_bytes - 1)
    assert shorter.queue == "jobs.retry.5"
    assert history(shorter) == []
    big = delivery({"producers": "x" * 5_000})
    parked = messages.fitted(messages.retried(big, "jobs", 5, BLAME), big, "jobs", 4_096)
    assert (parked.queue, parked.outcome, parked.body) == ("jobs.dead", "parked", b"body")
    assert "left no room" in str(parked.envelope.header("x-error"))
    assert parked.header_bytes < 4_096


def test_an_announcement_carries_job_and_order() -> None:
    result = Result(job_id="j", title="t", storage_path="/p")
    message = messages.announced(result, "out", "j.m")
    assert (message.queue, message.envelope.text("message_id")) == ("out", "j")
    assert message.envelope.header("x-order") == "j.m"
    assert json.loads(message.body) == {"job_id": "j", "title": "t", "storage_path": "/p"}


@given(
    st.dictionaries(
        st.sampled_from(["x-attempt", "x-deferred", "x-history", "x-delivery-count"]),
        st.integers(-(2**63), 2**63 - 1) | st.text() | st.just("[1]"),
    )
)
def test_no_header_can_break_a_delivery(headers: dict[str, Any]) -> None:
    one = delivery(headers)
    assert 0 <= one.attempt <= 1_000_000
    assert 0 <= one.deferred <= 1_000_000
    assert 0 <= one.returned <= 1_000_000
    assert one.history == []


@given(st.binary(max_size=255))
def test_any_message_id_gives_a_short_plain_step(message_id: bytes) -> None:
    envelope = Envelope({"message_id": bytes([len(message_id)]) + message_id})
    step = Delivery(1, 1, b"", envelope=envelope).step("j" * 128)
    assert step.isascii()
    assert len(step) < 256


@pytest.mark.parametrize(
    ("timestamp", "millis", "expected"),
    [
        (None, None, None),
        (1_700_000_000, None, 1_700_000_000.0),
        (1_700_000_000, 1_600_000_000_500, 1_600_000_000.5),
        (1_700_000_000_250, None, 1_700_000_000.25),
        (1_700_000_000, "soon", 1_700_000_000.0),
        (2**64 - 1, None, None),
        (0, None, None),
        (None, -5, None),
    ],
)
def test_the_time_of_publishing(
    timestamp: int | None, millis: str | int | None, expected: float | None
) -> None:
    properties = {} if timestamp is None else {"timestamp": timestamp.to_bytes(8, "big")}
    headers = {} if millis is None else {"timestamp_in_ms": millis}
    assert messages.published_at(Envelope(properties).amended(headers)) == expected


def test_only_a_first_delivery_of_our_days_has_a_wait() -> None:
    assert delivery().wait_s(130.0) == 30.0
    assert delivery().wait_s(90.0) == 0.0
    assert delivery(redelivered=True).wait_s(130.0) is None
    assert delivery().wait_s(1_700_000_000.0) is None
    assert Delivery(1, 1, b"").wait_s(130.0) is None


def test_retry_queues_give_up_nothing_that_the_job_queue_has_not_taken() -> None:
    retried = messages.retried(delivery(), "q", 20, BLAME)
    assert messages.own_arguments("q", retried) == {
        "x-queue-type": "quorum",
        "x-message-ttl": 20_000,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "q",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    announced = messages.announced(Result(job_id="j", title="", storage_path=""), "out", "j")
    assert messages.own_arguments("q", announced) == {}
    assert messages.own_arguments("q", retried.straight_to("q")) == {}
