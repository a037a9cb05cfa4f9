"""One ceiling for all that is held, fallen back to or ordered, and nobody stopped by it."""

from __future__ import annotations

from typing import Any

import pytest

from scaler.policy.ceiling import ceiling
from scaler.policy.decide import decide
from scaler.policy.decision import Decision
from scaler.policy.explain import explain
from scaler.policy.limits import Limit
from scaler.policy.memory import Memory, apply_order
from scaler.policy.observation import Fleet, Known, Observation, Unknown
from scaler.policy.orders import Order, OrderKind
from scaler.policy.target import Fallback, Rule, Schedule, Target

NOW = 1_700_000_000.0
GONE = Unknown("no sample", "q")


def known(value: float) -> Known:
    return Known(value, 0.0, "q")


def seen(
    running: int | None, busy: int | None = None, waiting: int | None = None, **fleet: Any
) -> Observation:
    """None is what is not seen."""
    return Observation(
        waiting=GONE if waiting is None else known(waiting),
        in_flight=GONE if busy is None else known(busy),
        idle=GONE if busy is None or running is None else known(running - busy),
        arrival_rate=GONE,
        burstiness=GONE,
        mean_duration=GONE,
        startup=known(10.0),
        fleet=None if running is None else Fleet(running, running, **fleet),
    )


def remembered(target: int | None, busy: int = 0, age_s: float = 1.0) -> Memory:
    return Memory(at=NOW - 1, target=target, busy=busy, known_at=NOW - age_s)


def override(replicas: int) -> Order:
    return Order(
        at=NOW, order=OrderKind.OVERRIDE, reason="x", by="me", until=NOW + 99, replicas=replicas
    )


def told(
    observation: Observation, memory: Memory, target: Target, order: Order | None = None
) -> Decision:
    memory = memory if order is None else apply_order(memory, order)
    decision, after = decide(observation, memory, target, NOW)
    assert decision.replicas is not None
    held = decision.limit is not None and decision.limit.row.holds
    assert decision.replicas <= ceiling(observation, memory, decision.bounds, held=held)
    assert after.target is not None
    assert after.target + after.replaced == decision.replicas, "what is told is remembered"
    return decision


@pytest.mark.parametrize(
    ("running", "held", "maximum", "number"),
    [
        (12, 20, 5, 12),  # neither grown nor shrunk
        (12, 20, 15, 15),  # within the new maximum it may go on growing
        (3, 20, 5, 5),
        (12, 8, 5, 8),  # a number below what runs was told when it was known
        (20, 20, 5, 20),
        (None, 20, 5, 20),  # what was told last is what runs, as far as anybody knows
        (None, 3, 5, 3),
    ],
)
def test_a_maximum_that_was_lowered_neither_grows_nor_shrinks_a_fleet_while_blind(
    running: int | None, held: int, maximum: int, number: int
) -> None:
    decision = told(seen(running), remembered(held), Target(max_workers=maximum))
    assert (decision.replicas, decision.limit, decision.retire) == (number, Limit.UNKNOWN, 0)
    said = f"{held} is more than the maximum of {maximum}"
    assert (said in explain(decision, "")) is (number < held)


def test_what_was_told_under_the_lower_maximum_is_what_goes_on() -> None:
    target = Target(max_workers=5)
    _, memory = decide(seen(12), remembered(20), target, NOW)
    unseen, memory = decide(seen(None), memory, target, NOW + 1)
    again, _ = decide(seen(12), memory, target, NOW + 2)
    assert (unseen.replicas, again.replicas) == (12, 12)


@pytest.mark.parametrize("fallback", [Fallback.NUMBER, Fallback.HIGHER])
@pytest.mark.parametrize(("running", "number"), [(4, 10), (12, 12), (None, 10)])
def test_a_fallback_number_is_within_the_maximum(
    fallback: Fallback, running: int | None, number: int
) -> None:
    target = Target(fallback=fallback, fallback_replicas=50, fallback_after=60)
    decision = told(seen(running), remembered(4, age_s=90), target)
    assert decision.replicas == number
    assert "50 is more than the maximum of 10" in explain(decision, "")


def test_a_schedule_that_raises_the_maximum_lets_the_fallback_have_it() -> None:
    day = Schedule(name="day", start="* * * * *", end="0 0 1 1 *", max_workers=30)
    target = Target(
        fallback=Fallback.NUMBER, fallback_replicas=50, fallback_after=60, schedules=(day,)
    )
    decision = told(seen(4), remembered(4, age_s=90), target)
    assert decision.replicas == 30
    assert "the maximum of 30, by the schedule 'day'" in decision.note


@pytest.mark.parametrize("fallback", [Fallback.NUMBER, Fallback.HIGHER])
@pytest.mark.parametrize("number", [1, 8])
def test_a_persons_order_beats_a_fallback(fallback: Fallback, number: int) -> None:
    target = Target(fallback=fallback, fallback_replicas=number, fallback_after=60)
    for running in (3, None):
        decision = told(seen(running), remembered(3, age_s=90), target, override(3))
        assert decision.replicas == 3
        assert "fallback" not in decision.note


def test_an_order_below_what_runs_stops_nobody_while_blind() -> None:
    decision = told(seen(6), remembered(6), Target(), override(3))
    assert decision.replicas == 6


@pytest.mark.parametrize("waiting", [None, 40])
def test_an_order_that_outlives_a_lowered_maximum_is_cut_and_says_so(waiting: int | None) -> None:
    busy = None if waiting is None else 0
    decision = told(seen(2, busy, waiting), remembered(2), Target(max_workers=5), override(8))
    assert decision.replicas == 5
    assert "override to 8, of which the maximum allows 5: x" in decision.note


@pytest.mark.parametrize(("maximum", "number"), [(3, 8), (30, 15)])
def test_a_person_may_order_more_than_a_schedule_and_as_much_as_one(
    maximum: int, number: int
) -> None:
    day = Schedule(name="day", start="* * * * *", end="0 0 1 1 *", max_workers=maximum)
    target = Target(max_workers=10, schedules=(day,))
    assert told(seen(2, 0, 0), remembered(2), target, override(number)).replicas == number


@pytest.mark.parametrize("hold", [None, "a roll-out is running"])
def test_busy_workers_are_above_every_ceiling(hold: str | None) -> None:
    decision = told(seen(9, 9, 4, hold=hold), remembered(9, 9), Target(max_workers=2))
    assert decision.replicas == 9


def test_a_held_orchestrator_is_not_grown_above_the_maximum() -> None:
    rolling = seen(12, 3, 4, hold="a roll-out is running")
    decision = told(rolling, remembered(20), Target(max_workers=5))
    assert (decision.replicas, decision.limit) == (12, Limit.ORCHESTRATOR)


def test_those_in_place_of_the_unhealthy_are_within_the_ceiling() -> None:
    memory = remembered(10)._replace(replaced=3)
    assert told(seen(8, unhealthy=3), memory, Target(max_workers=10)).replicas == 10
    assert told(seen(8, unhealthy=3), memory, Target(max_workers=20)).replicas == 13


@pytest.mark.parametrize("rule", [Rule.OURS, Rule.PLAN])
def test_every_rule_has_the_maximum_of_a_schedule_and_names_it(rule: Rule) -> None:
    day = Schedule(name="day", start="* * * * *", end="0 0 1 1 *", max_workers=20)
    target = Target(policy=rule, max_workers=10, schedules=(day,))
    decision = told(seen(10, 0, 50), Memory(), target)
    assert (decision.replicas, decision.bound) == (20, "schedule day")
    night = Target(policy=rule, max_workers=10)
    decision = told(seen(10, 0, 50), Memory(), night)
    assert (decision.replicas, decision.bound) == (10, "max_workers")


def test_a_rate_limit_keeps_a_number_and_never_turns_it_round() -> None:
    """Raised by busy workers beyond what a minute may add, it is not lowered by more demand."""
    target = Target(max_added_per_minute=1, max_removed_per_minute=1)
    _, memory = decide(seen(0, 0), Memory(), target, NOW)
    forced, memory = decide(seen(3, 3), memory, target, NOW + 1)
    more, _ = decide(seen(3, 3, 4), memory, target, NOW + 2)
    assert (forced.replicas, more.replicas, more.limit) == (3, 3, Limit.ADDED)
