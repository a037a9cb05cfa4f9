"""Decisions one by one: what a person would expect, and the sentence that says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scaler.policy.decide import decide
from scaler.policy.decision import Decision
from scaler.policy.explain import reason
from scaler.policy.memory import Memory, apply_order
from scaler.policy.observation import Fleet, Known, Observation, Signal, Unknown
from scaler.policy.orders import Order, OrderKind
from scaler.policy.staffing import headroom, keep_idle_for, lasting, relief
from scaler.policy.target import Fallback, Priority, Rule, Schedule, Target, weights

T0 = 1_700_000_000.0
GONE = Unknown("the newest sample is 40 s old", "q")


def known(value: float) -> Known:
    return Known(float(value), 0.0, "q")


def seen(
    jobs: float, busy_ones: int, idle_ones: int = 0, new_ones: int = 0, **changes: Any
) -> Observation:
    """Numbers by position; signals and fleet by name replace what follows from them."""
    running = busy_ones + idle_ones + new_ones
    made = Observation(
        waiting=known(jobs),
        in_flight=known(busy_ones),
        idle=known(idle_ones),
        arrival_rate=known(0.0),
        burstiness=known(1.0),
        mean_duration=GONE,
        startup=known(10.0),
        fleet=Fleet(running, running, new_ones),
    )
    return replace(made, **changes)


def follow(
    target: Target, *steps: tuple[float, Observation], memory: Memory | None = None
) -> list[Decision]:
    """The decisions at T0 plus each time."""
    memory = memory or Memory()
    decisions = []
    for after, observation in steps:
        decision, memory = decide(observation, memory, target, T0 + after)
        decisions.append(decision)
    return decisions


@pytest.mark.parametrize(
    ("observation", "replicas", "action"),
    [
        (seen(0, 0, 1), 1, "none"),
        (seen(4, 0, 1), 4, "up"),
        (seen(4, 1), 5, "up"),
        (seen(3, 2, 0, 3), 5, "none"),  # those that start are capacity on its way
        (seen(50, 3), 10, "up"),
    ],
)
def test_one_worker_for_each_job(observation: Observation, replicas: int, action: str) -> None:
    (decision,) = follow(Target(), (0, observation))
    assert (decision.replicas, decision.action) == (replicas, action)


def test_up_at_once_down_after_a_while_and_only_idle_ones() -> None:
    first, burst, calm, later = follow(
        Target(),
        (0, seen(0, 0, 1)),
        (1, seen(6, 1)),
        (2, seen(0, 3, 4)),
        (30, seen(0, 3, 4)),
    )
    assert (first.replicas, burst.replicas, calm.replicas) == (1, 7, 7)
    assert (later.replicas, later.action, later.retire) == (3, "down", 4)


def test_a_start_up_is_assumed_until_one_is_measured() -> None:
    """A dearer start keeps an idle worker for longer."""
    target = Target(startup_seconds=100)
    times = (0, 1, 30, 200)
    for signal, kept in ((GONE, [5, 5, 5, 1]), (known(10), [5, 5, 1, 1])):
        busy, idle = seen(0, 5, 0, startup=signal), seen(0, 0, 5, startup=signal)
        steps = [(after, idle if after else busy) for after in times]
        assert [each.replicas for each in follow(target, *steps)] == kept


def test_the_sentence_has_the_numbers_and_the_limit() -> None:
    (decision,) = follow(Target(), (0, seen(50, 3)))
    assert decision.bound == "max_workers"
    assert reason(decision) == (
        "up from 3 to 10: 50 waiting and 3 in progress; wanted now 53, wanted lately 53; "
        "limited by max_workers"
    )


def test_a_maximum_that_is_too_low_again_is_kept_for_longer() -> None:
    burst, quiet = seen(11, 1), seen(0, 2, 8)
    steps = [(0, burst), (45, quiet), (300, burst), (301, burst), (345, quiet), (430, quiet)]
    decisions = follow(Target(max_workers=10), *steps)
    assert [decision.replicas for decision in decisions] == [10, 2, 10, 10, 10, 2]
    assert "kept after the maximum was short 10" in reason(decisions[4])


def test_jobs_about_to_end_are_not_counted_on_near_the_maximum() -> None:
    ending = seen(10, 10, mean_duration=known(1.0))
    wanted = {
        high: follow(Target(max_workers=high, priority=Priority.CHEAP), (0, ending))[0].replicas
        for high in (1000, 40, 20)
    }
    # Of the ten that end, five are counted on: of those nearly all, half, and none.
    assert wanted == {1000: 16, 40: 18, 20: 20}


def test_bursts_far_apart_do_not_keep_the_maximum() -> None:
    burst = ((0, seen(11, 1)), (1, seen(0, 2, 8)), (45, seen(0, 2, 8)))
    steps = [(at + after, load) for at in (0, 700, 1400) for after, load in burst]
    decisions = follow(Target(max_workers=10), *steps)
    assert [decision.replicas for decision in decisions] == [10, 10, 2] * 3


def test_what_is_kept_is_the_maximum_that_was_too_low() -> None:
    """A schedule's, say; the higher one after it was never short."""
    # T0 is 22:13:20.
    night = Schedule(name="night", start="0 22 * * *", end="15 22 * * *", max_workers=3)
    steps = [(0, seen(8, 1)), (90, seen(8, 1)), (150, seen(0, 2, 1))]
    decisions = follow(Target(max_workers=10, schedules=(night,)), *steps)
    assert [decision.replicas for decision in decisions] == [3, 3, 3]
    assert "kept after the maximum was short 3" in reason(decisions[2])


def test_a_found_fleet_is_not_dropped_at_once() -> None:
    first, later = follow(Target(), (0, seen(0, 0, 8)), (60, seen(0, 0, 8)))
    assert first.replicas == 8
    assert later.replicas == 1


@pytest.mark.parametrize("name", ["waiting", "in_flight"])
def test_unknown_holds_and_says_why(name: str) -> None:
    changes: dict[str, Any] = {name: GONE}
    _, held = follow(Target(), (0, seen(5, 1)), (5, replace(seen(0, 0, 6), **changes)))
    assert (held.replicas, held.action, held.bound, held.retire) == (6, "hold", "unknown", 0)
    assert f"{name} is unknown (the newest sample is 40 s old)" in reason(held)


def test_the_first_decision_without_signals_keeps_the_fleet() -> None:
    (decision,) = follow(Target(), (0, seen(0, 4, waiting=GONE, in_flight=GONE)))
    assert (decision.replicas, decision.action) == (4, "hold")


def test_an_unknown_or_forbidden_fleet_holds() -> None:
    rolling = replace(Fleet(6, 6), hold="a roll-out is under way")
    decisions = follow(
        Target(),
        (0, seen(5, 1)),
        (30, seen(0, 0, 6, fleet=None, fleet_error="connection refused")),
        (60, seen(0, 0, 6, fleet=rolling)),
    )
    assert [decision.replicas for decision in decisions] == [6, 6, 6]
    assert "the fleet is unknown (connection refused)" in reason(decisions[1])
    assert "a roll-out is under way" in reason(decisions[2])


@pytest.mark.parametrize(
    ("fallback", "number", "replicas"),
    [
        (Fallback.HOLD, None, 6),
        (Fallback.NUMBER, 3, 3),
        (Fallback.HIGHER, 3, 6),
        (Fallback.HIGHER, 8, 8),
    ],
)
def test_fallback_after_its_age(fallback: Fallback, number: int | None, replicas: int) -> None:
    target = Target(fallback=fallback, fallback_replicas=number, fallback_after=60)
    blind = seen(0, 2, 4, waiting=GONE)
    _, before, after = follow(target, (0, seen(5, 1)), (60, blind), (61, blind))
    assert before.replicas == 6
    assert after.replicas == replicas
    assert after.retire == 0
    assert "for 61 s" in reason(after)


def test_even_a_fallback_number_spares_busy_workers() -> None:
    target = Target(fallback=Fallback.NUMBER, fallback_replicas=1, fallback_after=60)
    blind = seen(0, 4, 2, waiting=GONE)
    *_, after = follow(target, (0, seen(5, 1)), (5, blind), (90, blind))
    assert after.replicas == 4


def test_a_lowered_maximum_stops_nobody_busy() -> None:
    (decision,) = follow(Target(max_workers=2), (0, seen(3, 5, 1)))
    assert (decision.replicas, decision.retire, decision.bound) == (5, 1, "busy workers")


def test_leaving_busy_workers_do_not_raise_the_number() -> None:
    leaving = seen(0, 5, fleet=Fleet(3, 3, 0, draining=2))
    (decision,) = follow(Target(max_workers=3), (0, leaving))
    assert decision.replicas == 3


def test_pause_leaves_all_as_it_is_and_ends_by_itself() -> None:
    _, memory = decide(seen(1, 1), Memory(), Target(), T0)
    order = Order(at=T0, order=OrderKind.PAUSE, reason="maintenance", by="me", until=T0 + 100)
    paused = apply_order(memory, order)
    during, after = follow(Target(), (50, seen(8, 2)), (100, seen(8, 2)), memory=paused)
    assert (during.replicas, during.bound) == (2, "pause")
    assert "paused: maintenance" in reason(during)
    assert after.replicas == 10
    resume = Order(at=T0, order=OrderKind.RESUME, reason="done", by="me")
    (resumed,) = follow(Target(), (50, seen(8, 2)), memory=apply_order(paused, resume))
    assert resumed.replicas == 10


def test_cooldown_keeps_changes_apart() -> None:
    target = Target(cooldown_period=60)
    steps = [(0, seen(0, 0, 1)), (5, seen(3, 1)), (30, seen(6, 4)), (65, seen(6, 4))]
    decisions = follow(target, *steps)
    assert [decision.replicas for decision in decisions] == [1, 4, 4, 10]
    assert decisions[2].bound == "cooldown_period"


def test_thresholds_are_the_plans() -> None:
    target = Target(scale_up_threshold=2, scale_down_threshold=0.5)
    steps = [(0, seen(0, 2)), (5, seen(4, 2)), (10, seen(5, 2)), (40, seen(4, 1, 6))]
    decisions = follow(target, *steps)
    assert [decision.replicas for decision in decisions] == [2, 2, 7, 7]
    assert [decision.bound for decision in decisions[1:]] == [
        "scale_up_threshold",
        "",
        "scale_down_threshold",
    ]


def test_rate_limits_hold_over_any_minute() -> None:
    target = Target(max_added_per_minute=2, max_removed_per_minute=1)
    up = follow(target, *((5 * n, seen(9, 1)) for n in range(30)))
    assert [up[n].replicas for n in (0, 1, 11, 13, 26)] == [3, 3, 3, 5, 7]
    assert up[1].bound == "max_added_per_minute"
    falling = [(0.0, seen(9, 1)), *((150 + 5.0 * n, seen(0, 0, 3)) for n in range(20))]
    down = follow(target, *falling)
    assert [down[n].replicas for n in (0, 1, 5, 16)] == [3, 2, 2, 1]


def test_schedules_raise_the_minimum_and_cap_the_maximum() -> None:
    day = Schedule(name="day", start="0 0 * * *", end="59 23 * * *", min_workers=4)
    cap = Schedule(name="cap", start="0 0 * * *", end="59 23 * * *", max_workers=6)
    target = Target(schedules=(day, cap))
    idle, loaded = follow(target, (0, seen(0, 0, 1)), (5, seen(20, 1)))
    assert (idle.replicas, idle.bound) == (4, "schedule day")
    assert (loaded.replicas, loaded.bound) == (6, "schedule cap")


def test_the_plans_rule_sees_waiting_jobs_only() -> None:
    target = Target(
        policy=Rule.PLAN, scale_up_threshold=0, scale_down_threshold=100, cooldown_period=0
    )
    cases = [(0, 8, 2), (3, 8, 4), (7, 4, 8), (50, 4, 10), (0, 1, 1)]
    for waiting, active, replicas in cases:
        idle = seen(waiting, 0, active)
        (decision,) = follow(target, (0, idle))
        assert decision.replicas == replicas, (waiting, active)


def test_the_raw_rule_is_the_query_over_what_one_carries() -> None:
    target = Target(policy=Rule.RAW, query="sum(x)", per_worker=4.0)
    answer: Signal = known(17)
    (decision,) = follow(target, (0, seen(0, 0, 1, extra=(("query", answer),))))
    assert decision.replicas == 5
    (held,) = follow(target, (0, seen(0, 0, 1, extra=(("query", GONE),))))
    assert "query is unknown" in reason(held)


def test_headroom_is_square_root_staffing_widened_by_bursts() -> None:
    target = Target(headroom=2.0)
    stream = seen(0, 0, 1, arrival_rate=known(0.25), mean_duration=GONE)
    endless = lasting(stream, 16.0)
    assert headroom(stream, target, endless) == pytest.approx(2 * (0.25 * 16) ** 0.5)
    bursts = replace(stream, burstiness=known(9.0))
    assert headroom(bursts, target, endless) == pytest.approx(3 * headroom(stream, target, endless))
    assert headroom(replace(stream, arrival_rate=GONE), target, endless) == 0.0


def test_relief_counts_on_jobs_about_to_end_and_less_when_waiting_is_dear() -> None:
    busy = seen(0, 20, mean_duration=known(100.0))
    half = lasting(busy, 100.0)
    saved = [relief(Target(priority=p).weights, 20.0, half) for p in Priority]
    assert saved == pytest.approx([20 * 0.632 * share for share in (1 / 2, 1 / 5, 1 / 11)], 0.01)
    assert relief(Target().weights, 20.0, lasting(seen(0, 20), 100.0)) == 0.0


def test_weights_are_the_newsvendors() -> None:
    assert weights(1.0) == pytest.approx((1.0, 0.0, 0.5, 0.5))
    assert weights(4.0).headroom == pytest.approx(0.8416, abs=1e-4)
    assert weights(0.0).headroom == 0.0
    assert weights(4.0, 1.5)[1:] == pytest.approx((1.5, 0.2, 0.9332), abs=1e-4)
    assert weights(4.0, 10.0).covered < 1.0
    assert keep_idle_for(10.0) == pytest.approx(5.82, abs=0.01)


def unwell(busy_ones: int, idle_ones: int, stuck: int, jobs: float = 0) -> Observation:
    running = busy_ones + idle_ones + stuck
    return seen(jobs, busy_ones, idle_ones, fleet=Fleet(running, running, unhealthy=stuck))


@pytest.mark.parametrize(
    ("observation", "replicas", "words"),
    [
        (unwell(0, 0, 1), 2, "1 unhealthy and no capacity, 1 run in their place"),
        (unwell(2, 0, 1, jobs=2), 5, "1 run in their place"),
        (
            unwell(9, 0, 3, jobs=9),
            10,
            "3 unhealthy and no capacity, 0 run in their place, for more",
        ),
        (unwell(8, 0, 3), 10, "2 run in their place, for more there is no room"),
    ],
)
def test_the_unhealthy_are_no_capacity_and_replaced_within_the_maximum(
    observation: Observation, replicas: int, words: str
) -> None:
    (decision,) = follow(Target(), (0, observation))
    assert decision.replicas == replicas
    assert words in reason(decision)


def test_the_surplus_leaves_at_once_when_the_unhealthy_are_well_again() -> None:
    sick, well = follow(Target(), (0, unwell(1, 0, 1)), (90, seen(0, 1, 1)))
    assert (sick.replicas, sick.action, well.replicas, well.retire) == (2, "none", 1, 1)


def test_those_in_place_of_the_unhealthy_stay_while_nothing_is_known() -> None:
    sick, blind = follow(Target(), (0, unwell(1, 1, 1)), (5, seen(0, 1, 2, waiting=GONE)))
    assert (sick.replicas, blind.replicas, blind.retire) == (3, 3, 0)
    assert sick.bound == ""


def draining(jobs: float, busy_ones: int, idle_ones: int = 0) -> Observation:
    running = busy_ones + idle_ones
    fleet = Fleet(running, running, hold="tasks end after SIGTERM", hold_yields=True)
    return seen(jobs, busy_ones, idle_ones, fleet=fleet)


def test_an_emergency_is_when_jobs_have_waited_for_so_long_with_nobody_idle() -> None:
    target = Target(emergency_after=60)
    decisions = follow(
        target,
        (0, draining(2, 1)),
        (59, draining(2, 1)),
        (60, draining(2, 1)),
        (61, draining(2, 1, 1)),
        (62, draining(2, 1)),
        (100, draining(2, 1)),
    )
    assert [one.urgent for one in decisions] == [False, False, True, False, False, False]
    assert decisions[2].replicas == 3
    assert decisions[2].action == "up"
    assert "emergency: jobs have waited for 60 s" in reason(decisions[2])


def test_an_emergency_adds_and_never_takes_away() -> None:
    (*_, last) = follow(
        Target(emergency_after=60, max_workers=2), (0, draining(2, 2)), (90, draining(2, 2))
    )
    assert (last.action, last.urgent, last.bound) == ("hold", False, "orchestrator")
