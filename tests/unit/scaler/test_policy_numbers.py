"""Numbers from outside, however wrong: no rule fails on them, none leaves the bounds."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.policy.ceiling import ceiling
from scaler.policy.decide import decide
from scaler.policy.decision import Decision
from scaler.policy.explain import explain, reason
from scaler.policy.forecast import HOUR_S
from scaler.policy.limits import Limit
from scaler.policy.memory import Memory
from scaler.policy.observation import SIGNALS, Fleet, Known, Observation, Signal, Unknown, believed
from scaler.policy.remember import rebuild
from scaler.policy.target import MAX_REPLICAS, Priority, Rule, Target

NOW = 1_700_000_000.0
NUMBERS = st.sampled_from(
    [0.0, 0.3, 2.5, 1e-320, 1e-300, 1e9, 1e15, 1e300, 1.7e308, -1e-9, -1.0, -1e300, inf, -inf, nan]
)
AGES = st.sampled_from([0.0, 0.5, 1e300, -1e300, -5.0])
SIGNAL = st.builds(Known, NUMBERS, AGES, st.just("q")) | st.just(Unknown("no sample", "q"))


def known(value: float) -> Known:
    return Known(value, 0.5, "q")


def seen(
    waiting: float = 3, in_flight: float = 4, idle: float = 0, query: float = 3
) -> Observation:
    return Observation(
        waiting=known(waiting),
        in_flight=known(in_flight),
        idle=known(idle),
        arrival_rate=known(0),
        burstiness=known(1),
        mean_duration=known(30),
        startup=known(10),
        fleet=Fleet(6, 6),
        extra=(("query", known(query)),),
    )


def with_signal(name: str, signal: Signal) -> Observation:
    changes: dict[str, Any] = {name: signal}
    return replace(seen(), **changes)


@st.composite
def looks(draw: st.DrawFn) -> Observation:
    signals: list[Any] = [draw(SIGNAL) for _ in range(8)]
    running = draw(st.integers(0, 12))
    fleet = draw(st.none() | st.just(Fleet(running, running, unhealthy=min(2, running))))
    named = dict(zip([name for name in SIGNALS if name != "busy"], signals, strict=False))
    return Observation(**named, fleet=fleet, extra=(("query", signals[7]),))


@st.composite
def rules(draw: st.DrawFn) -> Target:
    return Target(
        policy=draw(st.sampled_from(Rule)),
        query="x",
        per_worker=draw(st.sampled_from([1e-320, 1e-9, 1.0, 1e300])),
        priority=draw(st.sampled_from(Priority)),
        max_workers=draw(st.sampled_from([1, 10, MAX_REPLICAS])),
        forecast=draw(st.booleans()),
        max_added_per_minute=draw(st.none() | st.integers(1, 9)),
        max_removed_per_minute=draw(st.none() | st.integers(1, 9)),
        scale_up_threshold=draw(st.none() | st.sampled_from([0.0, 1e300])),
    )


@settings(max_examples=300, deadline=None)
@given(rules(), st.lists(looks(), min_size=1, max_size=8))
def test_no_rule_fails_and_none_leaves_the_bounds(target: Target, looks: list[Observation]) -> None:
    memory = Memory()
    for step, look in enumerate(looks):
        # Hours apart, so that the forecast has them in its means.
        now = NOW + step * HOUR_S
        before = memory
        decision, memory = decide(look, memory, target, now)
        if decision.replicas is not None:
            held = decision.limit is not None and decision.limit.row.holds
            most = ceiling(decision.observation, before, decision.bounds, held=held)
            assert 0 <= decision.replicas <= most
            assert 0 <= decision.retire <= (look.fleet.running if look.fleet else 0)
        assert len(reason(decision)) < 1000
        assert len(explain(decision, "")) < 2000
        written = json.dumps(memory.to_json(), allow_nan=False)
        lost: list[str] = []
        assert Memory.from_json(json.loads(written), lost.append) == memory
        assert not lost
        again = Decision.from_json(json.loads(json.dumps(decision.to_json())), decision.bounds)
        assert again.replicas == decision.replicas
    rebuild([(NOW + step, look) for step, look in enumerate(looks)], target)


@pytest.mark.parametrize("value", [-1.0, -1e-9, nan, inf, -inf])
@pytest.mark.parametrize("name", ["waiting", "in_flight"])
def test_what_cannot_be_is_no_knowledge(name: str, value: float) -> None:
    """A broker or a rule that says so is broken: the number holds, and the sentence says why."""
    before, memory = decide(seen(), Memory(), Target(), NOW)
    look = with_signal(name, known(value))
    decision, _ = decide(look, memory, Target(), NOW + 1)
    assert (decision.replicas, decision.limit) == (before.replicas, Limit.UNKNOWN)
    assert f"{name} is unknown ({value:g} is not possible)" in decision.note
    assert dict(decision.inputs)[name] == Unknown(f"{value:g} is not possible", "q")


def test_who_is_idle_cannot_be_fewer_than_none() -> None:
    calm = seen(waiting=0, in_flight=1, idle=-3)
    _, memory = decide(calm, Memory(), Target(), NOW)
    decision, _ = decide(calm, memory, Target(), NOW + 60)
    assert (decision.replicas, decision.retire) == (1, 0)


@pytest.mark.parametrize("name", ["arrival_rate", "burstiness", "mean_duration", "startup"])
@pytest.mark.parametrize("value", [-1.0, nan])
def test_a_refinement_that_cannot_be_costs_itself_only(name: str, value: float) -> None:
    signals: tuple[Signal, Signal] = (known(value), Unknown("no sample", "q"))
    looks = (with_signal(name, signal) for signal in signals)
    (found, _), (wanted, _) = (decide(look, Memory(), Target(), NOW) for look in looks)
    assert found.replicas == wanted.replicas


@pytest.mark.parametrize("rule", Rule)
@pytest.mark.parametrize("jobs", [1e9, 1e300, 1.7e308])
def test_as_many_as_nobody_could_do_is_the_maximum(rule: Rule, jobs: float) -> None:
    target = Target(policy=rule, query="x", max_workers=MAX_REPLICAS)
    decision, _ = decide(seen(waiting=jobs, query=jobs), Memory(), target, NOW)
    assert (decision.replicas, decision.limit) == (
        MAX_REPLICAS,
        None if rule is Rule.RAW else Limit.MAX,
    )


def test_a_part_of_a_job_is_a_busy_worker() -> None:
    decision, _ = decide(seen(waiting=0, in_flight=3.2), Memory(), Target(max_workers=2), NOW)
    assert (decision.replicas, decision.limit) == (4, Limit.BUSY)


@pytest.mark.parametrize(("query", "replicas"), [(-5.0, 1), (0.0, 1), (2.5, 3), (-1e300, 1)])
def test_what_an_operators_own_formula_gives_may_be_below_nothing(
    query: float, replicas: int
) -> None:
    """`sum(x) - 5`, say: then there is no load, which is something that is known."""
    target = Target(policy=Rule.RAW, query="x")
    decision, _ = decide(seen(in_flight=0, query=query), Memory(), target, NOW)
    assert decision.replicas == replicas


@pytest.mark.parametrize(("per_worker", "replicas"), [(1e-320, 10), (1e-9, 10), (1e300, 1)])
def test_whatever_one_carries(per_worker: float, replicas: int) -> None:
    target = Target(policy=Rule.RAW, query="x", per_worker=per_worker)
    decision, _ = decide(seen(in_flight=0), Memory(), target, NOW)
    assert decision.replicas == replicas


@pytest.mark.parametrize("priority", Priority)
@pytest.mark.parametrize("age", [-1e300, -60.0, 1e300])
def test_the_age_of_a_sample_is_no_lever(priority: Priority, age: float) -> None:
    old = replace(seen(), waiting=Known(3, age, "q"))
    decision, memory = decide(old, Memory(), Target(priority=priority), NOW)
    assert decision.replicas is not None
    assert 6 <= decision.replicas <= 20
    quiet, _ = decide(seen(0, 0, 6), memory, Target(priority=priority), NOW + 3600)
    assert quiet.replicas == 1


def test_what_is_possible_is_left_as_it_is() -> None:
    look = replace(seen(), extra=())
    assert believed(look) is look
    assert believed(seen()) == seen()
