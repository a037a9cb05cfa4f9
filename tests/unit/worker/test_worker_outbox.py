"""The order in which events reach the ledger, and what becomes of those that fail."""

from __future__ import annotations

import threading
from typing import cast

import pytest

from common.ledger import Ledger, LedgerError
from worker.outbox import Outbox

LEDGER = cast(Ledger, object())


def test_events_are_sent_once_in_order_and_putting_one_wakes_the_sender() -> None:
    wake, sent = threading.Event(), list[int]()
    outbox = Outbox(wake)
    outbox.put(lambda _: sent.append(1), lambda _: sent.append(2))
    assert wake.is_set()
    outbox.put(lambda _: sent.append(3))
    outbox.send(LEDGER)
    outbox.send(LEDGER)
    assert sent == [1, 2, 3]
    assert not outbox


def test_while_the_ledger_fails_events_stay_and_one_with_a_bug_blocks_none() -> None:
    outbox, sent, problems = Outbox(threading.Event()), list[str](), [LedgerError("no answer")]

    def once_away(_: Ledger) -> None:
        if problems:
            raise problems.pop()
        sent.append("first")

    outbox.put(once_away, lambda _: 1 / 0, lambda _: sent.append("last"))
    with pytest.raises(LedgerError):
        outbox.send(LEDGER)
    assert len(outbox) == 3
    outbox.send(LEDGER)
    assert sent == ["first", "last"]
