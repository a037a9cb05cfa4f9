"""Several scalers on a real ledger: one acts."""

from __future__ import annotations

import time

import pytest

from common.ledger import Ledger
from common.records import WorkerRecord, WorkerState
from scaler.loop.lease import TTL_S, Leader

pytestmark = pytest.mark.integration


class Clock:
    """Time that stands still for a process that does."""

    def __init__(self) -> None:
        self.behind = 0.0

    def __call__(self) -> float:
        return time.monotonic() - self.behind


def test_one_leads_and_hands_over_when_it_leaves(ledger: Ledger) -> None:
    first, second = Leader(ledger), Leader(ledger)
    assert first.leads()
    assert not second.leads()
    first.resign()
    time.sleep(1.1)
    assert second.leads()
    assert not first.leads()


def test_after_a_death_another_takes_over_and_never_both_at_once(ledger: Ledger) -> None:
    dead, heir = Leader(ledger), Leader(ledger)
    assert dead.leads()
    died_at = time.monotonic()
    while not heir.leads():
        assert time.monotonic() - died_at < 15
        time.sleep(0.1)
    # The dead one, should it only have been stopped, no longer believes in its lease either.
    assert not dead.leads()
    assert time.monotonic() - died_at >= TTL_S - 1


def test_one_that_does_not_know_yet_is_fenced_off(ledger: Ledger) -> None:
    now = ledger.now()
    ledger.put_worker(
        WorkerRecord(
            id="w1", queue="q", status=WorkerState.IDLE, status_since=now, started_at=now,
            last_seen=now,
        )
    )  # fmt: skip
    clock = Clock()
    stopped, heir = Leader(ledger, clock=clock), Leader(ledger)
    assert stopped.leads()
    while not heir.leads():
        clock.behind = time.monotonic()
        time.sleep(0.2)
    assert stopped.leads(), "its own clock has stood still"
    assert not stopped.request_drain("w1", "from the past")
    assert heir.request_drain("w1", "from the present")
