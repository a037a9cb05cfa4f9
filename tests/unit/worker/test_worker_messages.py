"""Deliveries, their history, and where they go next."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import messages
from worker.jobs import Result
from worker.messages import Blame, Delivery

BLAME = Blame("it broke", "w1", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def delivery(**headers: object) -> Delivery:
    return Delivery(1, 1, b"body", headers=headers, message_id="m", timestamp=100.0)


def test_a_retried_message_counts_and_remembers() -> None:
    before = delivery(kept="yes", CC=["elsewhere"], **{"x-death": []})
    first = messages.retried(before, "jobs", 5, BLAME)
    assert first.queue == "jobs.retry.5"
    assert first.body == b"body"
    assert (first.message_id, first.timestamp) == ("m", 100.0)
    assert first.headers["kept"] == "yes"
    assert not {"x-death", "CC"} & set(first.headers)
    again = Delivery(1, 1, b"body", headers=first.headers)
    assert again.attempt == 1
    assert again.seen_before
    second = messages.retried(again, "jobs", 5, BLAME)
    assert second.queue == "jobs.retry.20"
    history = json.loads(second.headers["x-history"])
    assert [(h["attempt"], h["worker"], h["error"]) for h in history] == [
        (1, "w1", "it broke"),
        (2, "w1", "it broke"),
    ]
    assert history[0]["at"] == "2026-01-02T03:04:05.000+00:00"


def test_delays_grow_up_to_an_hour() -> None:
    assert [messages.delay_s(5, n) for n in (1, 2, 3)] == [5, 20, 80]
    assert messages.delay_s(5, 20) == 3600


def test_a_deferred_message_is_another_step_of_the_same_order() -> None:
    before = delivery(**{"x-attempt": 2})
    message = messages.deferred(before, "jobs")
    after = Delivery(2, 9, b"body", headers=message.headers, message_id="m")
    assert message.queue == "jobs.retry.5"
    assert after.attempt == 2
    assert after.identity("job") == before.identity("job")
    assert after.step("job") != before.step("job")


def test_a_retry_forgets_deferrals() -> None:
    message = messages.retried(delivery(**{"x-deferred": 3}), "jobs", 5, BLAME)
    assert messages.DEFERRED not in message.headers


def test_a_parked_message_keeps_body_error_and_history() -> None:
    message = messages.parked(delivery(), "jobs", BLAME)
    assert (message.queue, message.body) == ("jobs.dead", b"body")
    assert message.headers["x-error"] == "it broke"
    assert len(json.loads(message.headers["x-history"])) == 1


def test_history_does_not_grow_without_end() -> None:
    long = json.dumps([{"attempt": n} for n in range(100)])
    message = messages.parked(delivery(**{"x-history": long}), "jobs", BLAME)
    assert len(json.loads(message.headers["x-history"])) == 25


def test_an_announcement_carries_the_job_id() -> None:
    result = Result(job_id="j", title="t", storage_path="/p")
    message = messages.announced(result, "out")
    assert (message.queue, message.message_id) == ("out", "j")
    assert json.loads(message.body) == {"job_id": "j", "title": "t", "storage_path": "/p"}


@given(
    st.dictionaries(
        st.sampled_from(["x-attempt", "x-deferred", "x-history"]),
        st.integers() | st.text() | st.none() | st.just("[1]"),
    )
)
def test_no_header_can_break_a_delivery(headers: dict[str, object]) -> None:
    one = Delivery(1, 1, b"", headers=headers)
    assert 0 <= one.attempt <= 1_000_000
    assert 0 <= one.deferred <= 1_000_000
    assert one.history == []


@given(st.text(min_size=1))
def test_any_message_id_gives_a_short_plain_step(message_id: str) -> None:
    step = Delivery(1, 1, b"", message_id=message_id).step("j" * 128)
    assert step.isascii()
    assert len(messages.receipt_queue("q" * 40, step).encode()) <= 255


@pytest.mark.parametrize(
    ("timestamp", "headers", "expected"),
    [
        (None, {}, None),
        (1_700_000_000, {}, 1_700_000_000.0),
        (1_700_000_000, {"timestamp_in_ms": 1_600_000_000_500}, 1_600_000_000.5),
        (None, {"timestamp_in_ms": "soon"}, None),
        (None, {"timestamp_in_ms": float("nan")}, None),
        (-5, {}, None),
    ],
)
def test_the_time_of_publishing(
    timestamp: object, headers: dict[str, object], expected: float | None
) -> None:
    assert messages.published_at(timestamp, headers) == expected


def test_only_a_first_delivery_has_a_wait() -> None:
    assert delivery().wait_s(130.0) == 30.0
    assert delivery().wait_s(90.0) == 0.0
    assert Delivery(1, 1, b"", redelivered=True, timestamp=100.0).wait_s(130.0) is None
    assert Delivery(1, 1, b"").wait_s(130.0) is None


def test_only_retry_queues_are_declared_with_arguments() -> None:
    assert messages.retry_arguments("q", messages.retry_queue("q", 20)) == {
        "x-message-ttl": 20_000,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "q",
    }
    for name in ("q", "q.dead", "results", messages.receipt_queue("q", "j.0.0"), "other.retry.5"):
        assert messages.retry_arguments("q", name) is None
