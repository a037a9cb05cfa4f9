"""Totals that never fall, whatever ledger they come from."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from common.records import Histogram, Outcome, QueueCounters
from exporter.steady_totals import FORGET_S, SteadyTotals


def totals(started: int, *, queue: str = "q", done: int = 0) -> QueueCounters:
    wait = Histogram(((1.0, started // 2), (float("inf"), started)), started * 0.1)
    return QueueCounters(queue, started, {Outcome.DONE: done}, wait=wait)


def shown(steady: SteadyTotals, *read: QueueCounters, now: float = 0) -> list[int]:
    return [each.started for each in steady.follow(read, (), now)]


def test_the_first_reading_is_shown_as_it_is() -> None:
    steady = SteadyTotals()
    first = totals(1000, done=990)
    (told,) = steady.follow([first], (), 0)
    assert told.started == 1000
    assert told.outcomes[Outcome.DONE] == 990
    assert told.wait == first.wait


def test_an_older_ledger_holds_and_its_events_come_on_top() -> None:
    steady = SteadyTotals()
    told = [shown(steady, totals(n))[0] for n in (1000, 998, 998, 999, 1003)]
    assert told == [1000, 1000, 1000, 1001, 1005]


def test_an_emptied_ledger_does_too() -> None:
    steady = SteadyTotals()
    assert shown(steady, totals(1000)) == [1000]
    assert shown(steady) == [1000]
    assert shown(steady) == [1000]
    assert shown(steady, totals(2)) == [1002]


def test_one_total_that_falls_makes_all_of_its_queue_stand() -> None:
    steady = SteadyTotals()
    steady.follow([totals(10, done=9)], (), 0)
    (told,) = steady.follow([totals(12, done=3)], (), 1)
    assert (told.started, told.outcomes[Outcome.DONE]) == (10, 9)
    (told,) = steady.follow([totals(13, done=4)], (), 2)
    assert (told.started, told.outcomes[Outcome.DONE]) == (11, 10)


def test_other_queues_are_not_concerned() -> None:
    steady = SteadyTotals()
    shown(steady, totals(10), totals(20, queue="r"))
    assert shown(steady, totals(8), totals(21, queue="r")) == [10, 21]


def test_totals_that_cannot_be_read_are_not_shown_and_not_lost() -> None:
    steady = SteadyTotals()
    shown(steady, totals(10))
    assert steady.follow([], ("q",), 1) == []
    assert shown(steady, totals(9)) == [10]


def test_a_queue_that_the_ledger_has_forgotten_is_forgotten_in_the_end() -> None:
    steady = SteadyTotals()
    shown(steady, totals(10))
    assert shown(steady, now=FORGET_S) == [10]
    assert shown(steady, now=FORGET_S + 1) == []
    assert shown(steady, totals(1), now=FORGET_S + 2) == [1]


@pytest.mark.parametrize("name", ["started", "redelivered", "quarantined", "refused"])
def test_every_count_of_a_queue_is_followed(name: str) -> None:
    steady = SteadyTotals()
    before: dict[str, Any] = {name: 9}
    after: dict[str, Any] = {name: 7}
    steady.follow([QueueCounters("q", **before)], (), 0)
    (told,) = steady.follow([QueueCounters("q", **after)], (), 1)
    assert getattr(told, name) == 9


@given(some.lists(some.lists(some.integers(0, 50), min_size=3, max_size=3), max_size=20))
def test_nothing_ever_falls_and_buckets_stay_cumulative(readings: list[list[int]]) -> None:
    steady = SteadyTotals()
    before: list[float] = [0.0] * 4
    for counts in readings:
        low, middle, high = sorted(counts)
        wait = Histogram(((1.0, low), (5.0, middle), (float("inf"), high)), low * 0.1)
        (told,) = steady.follow([QueueCounters("q", high, {}, wait=wait)], (), 0)
        now = [*(count for _, count in told.wait.buckets), told.wait.sum]
        assert all(a <= b for a, b in zip(before, now, strict=True))
        assert now[0] <= now[1] <= now[2]
        before = now
