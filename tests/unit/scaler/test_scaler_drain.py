"""Drain requests from asking to leaving or being taken back."""

from __future__ import annotations

import pytest

from scaler.loop.drain import UNANSWERED_AFTER_S, Drains
from scaler.policy.observation import Worker, WorkerCondition


class Ledger:
    """Grants what `idle` holds."""

    def __init__(self, idle: set[str]) -> None:
        self.idle = idle
        self.withdrawn: list[str] = []

    def request_drain(self, worker_id: str, reason: str, *, ttl_s: int = 60) -> bool:
        return worker_id in self.idle

    def withdraw_drain(self, worker_id: str) -> None:
        self.withdrawn.append(worker_id)


def seen(name: str, state: str = "idle", since: float = 0.0) -> Worker:
    return Worker(name, WorkerCondition(state), since)


def test_only_granted_requests_are_pending() -> None:
    drains = Drains(Ledger({"a"}))
    assert drains.ask([seen("a"), seen("b")], "few jobs", 100) == ["a"]
    assert drains.pending([seen("a"), seen("b")]) == {"a"}


def test_who_shows_as_draining_is_pending_no_more() -> None:
    drains = Drains(Ledger({"a"}))
    drains.ask([seen("a")], "", 100)
    assert drains.pending([seen("a", "draining")]) == set()


@pytest.mark.parametrize("behind_s", [0.0, -7200.0, 7200.0])
def test_who_took_a_job_at_the_last_moment_keeps_it(behind_s: float) -> None:
    """By the worker's own clock, which may be hours off."""
    ledger = Ledger({"a"})
    drains = Drains(ledger)
    drains.ask([seen("a", since=90 + behind_s)], "", 100)
    assert drains.review([seen("a", "busy", since=100.2 + behind_s)], 101) == ["a"]
    assert ledger.withdrawn == ["a"]
    assert drains.pending([seen("a", "busy")]) == set()


def test_a_job_of_before_it_was_idle_is_none_that_it_took_when_it_was_asked() -> None:
    """Of two exporters one may be behind, or back with what it had read before."""
    ledger = Ledger({"a"})
    drains = Drains(ledger)
    drains.ask([seen("a", since=90)], "", 100)
    assert drains.review([seen("a", "busy", since=80)], 101) == []
    assert drains.pending([seen("a", "busy", since=80)]) == {"a"}
    assert drains.review([seen("a", "busy", since=95)], 102) == ["a"]


@pytest.mark.parametrize("state", ["idle", "busy", "unhealthy", "starting"])
def test_a_request_that_nobody_answers_is_taken_back(state: str) -> None:
    """A busy one may be one whose clock was set back: it will not leave for long."""
    ledger = Ledger({"a"})
    drains = Drains(ledger)
    drains.ask([seen("a")], "", 100)
    assert drains.review([seen("a", state)], 100 + UNANSWERED_AFTER_S - 1) == []
    assert drains.review([seen("a", state)], 100 + UNANSWERED_AFTER_S + 1) == ["a"]
    assert ledger.withdrawn == ["a"]


def test_who_is_leaving_may_take_long() -> None:
    ledger = Ledger({"a"})
    drains = Drains(ledger)
    drains.ask([seen("a")], "", 100)
    assert drains.review([seen("a", "draining")], 10_000) == []


def test_who_has_left_is_forgotten_without_a_word() -> None:
    ledger = Ledger({"a"})
    drains = Drains(ledger)
    drains.ask([seen("a")], "", 100)
    assert drains.review([], 100 + UNANSWERED_AFTER_S + 1) == []
    assert drains.pending([seen("a")]) == set()
    assert ledger.withdrawn == []
