"""No crash, refusal, lost connection or silent ledger, in any order, loses a job or doubles it.

The handler is the real one; see tests/support/settlement_model.py for the world that it runs in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.support.settlement_model import KINDS, explore
from worker.broker import Broker
from worker.errors import RefusedError
from worker.handler import JobHandler
from worker.messages import Delivery, Outgoing
from worker.settlement import Settlement


@pytest.mark.parametrize(("message_id", "faults"), [("order", 4), (None, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_happens_an_order_comes_to_its_end(
    kind: str, message_id: str | None, faults: int
) -> None:
    states, runs = explore(kind, message_id, faults)
    sys.stdout.write(f"{kind}, {message_id}: {states} states in {runs} runs\n")
    assert states > 200


@pytest.mark.parametrize("message_id", ["order", None])
def test_two_orders_that_nothing_tells_apart_come_to_an_end_together(
    message_id: str | None,
) -> None:
    states, _ = explore("good", message_id, 3, orders=2)
    assert states > 500


def acknowledging_first(one: Settlement, delivery: Delivery, message: Outgoing, *_: Any) -> str:
    broker: Broker = one._broker
    broker.acknowledge(delivery)
    return broker.publish(delivery, message).outcome


def marking_first(
    one: Settlement, delivery: Delivery, message: Outgoing, step: str, told: Any
) -> str:
    one._presence.conclude(lambda ledger: ledger.mark_settled(step, message.outcome, ttl_s=60))
    one._presence.flush(1)
    return SETTLE(one, delivery, message, step, told)


def taking_a_refusal_for_done(
    one: Settlement, delivery: Delivery, message: Outgoing, step: str, _: Any
) -> str:
    with suppress(RefusedError):
        one._broker.publish(delivery, message)
    one.acknowledge(delivery, step)
    return message.outcome


SETTLE = Settlement.settle


@pytest.mark.parametrize(
    ("settle", "found"),
    [
        (acknowledging_first, "lost"),
        (marking_first, "lost"),
        (taking_a_refusal_for_done, "lost"),
    ],
)
def test_the_model_finds_what_is_wrong_with_other_orders_of_the_steps(
    monkeypatch: pytest.MonkeyPatch, settle: Callable[..., str], found: str
) -> None:
    monkeypatch.setattr(Settlement, "settle", settle)
    with pytest.raises(AssertionError, match=found):
        explore("transient", "order", 2)


def test_the_model_finds_a_result_that_is_rendered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        JobHandler,
        "_attempt",
        lambda self, attempt: self._announce(attempt, self._make(attempt.job)),
    )
    with pytest.raises(AssertionError, match="although it was stored"):
        explore("good", "order", 1)


def test_the_model_finds_a_settled_message_that_is_settled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a crash that would excuse it: the first step is simply made twice."""

    def twice(one: Settlement, delivery: Delivery, message: Outgoing, *rest: Any) -> str:
        one._broker.publish(delivery, message)
        return SETTLE(one, delivery, message, *rest)

    monkeypatch.setattr(Settlement, "settle", twice)
    with pytest.raises(AssertionError, match="outcomes, no crash"):
        explore("good", "order", 0)
