"""A scaler that never knew anything says so, and makes up no number."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from scaler.loop.controller import Cycle
from scaler.policy.decide import decide
from scaler.policy.decision import Action, Applied, Decision
from scaler.policy.explain import explain, line
from scaler.policy.limits import Limit
from scaler.policy.memory import Memory, apply_order
from scaler.policy.observation import Fleet, Known, Observation, Unknown
from scaler.policy.orders import Order, OrderKind
from scaler.policy.schedule import Bounds, bounds
from scaler.policy.target import Fallback, Target
from scaler.web.verdict import verdict

NOW = 1_700_000_000.0
GONE = Unknown("connection refused", "q")
BLIND = Observation(
    waiting=GONE,
    in_flight=GONE,
    idle=GONE,
    arrival_rate=GONE,
    burstiness=GONE,
    mean_duration=GONE,
    startup=GONE,
    fleet=None,
    fleet_error="no worker is known",
)
NONE = "no number is given, as none was ever known"


def known(value: float) -> Known:
    return Known(value, 0.0, "q")


def with_fleet(running: int) -> Observation:
    return replace(BLIND, fleet=Fleet(running, running))


def order(kind: OrderKind, replicas: int | None = None) -> Order:
    return Order(at=NOW, order=kind, reason="a show", by="me", until=NOW + 60, replicas=replicas)


def test_cold_and_blind_there_is_no_number_and_nothing_is_stored_as_one() -> None:
    memory = Memory()
    for second in range(5):
        decision, memory = decide(BLIND, memory, Target(min_workers=2), NOW + second)
        assert (decision.replicas, decision.action) == (None, Action.HOLD)
        assert (decision.limit, decision.retire) == (Limit.UNKNOWN, 0)
        assert memory == Memory(known_at=NOW), "only since when it is unknown"


@pytest.mark.parametrize(
    "seen", [BLIND, replace(BLIND, waiting=known(5), in_flight=known(2), idle=known(0))]
)
def test_every_sentence_of_it_is_true(seen: Observation) -> None:
    decision, memory = decide(seen, Memory(), Target(), NOW)
    assert decision.replicas is None
    assert line(decision).startswith(f"{NONE}: ")
    text = explain(decision, "")
    assert text.startswith("No number was ever known; how many run is unknown, as the orchestrator")
    assert f"Unknown is not zero: {NONE}." in text
    shown = verdict(Cycle(decision, Applied()), memory, bounds(Target(), NOW))
    assert (shown.level, shown.text) == ("bad", f"The fleet is unknown: {NONE}")
    assert "None" not in text + line(decision) + shown.text


def test_it_is_recorded_as_null_and_read_back() -> None:
    decision, memory = decide(BLIND, Memory(), Target(), NOW)
    written = json.loads(json.dumps(decision.to_json()))
    assert written["replicas"] is None
    assert Decision.from_json(written, Bounds(0, 0, "", "")) == decision
    assert Memory.from_json(json.loads(json.dumps(memory.to_json()))) == memory


@pytest.mark.parametrize(("running", "replicas"), [(10, 10), (1, 2), (0, 2), (14, 14)])
def test_a_fleet_that_is_seen_is_known(running: int, replicas: int) -> None:
    """It is held, raised to the minimum, and not lowered to the maximum while blind."""
    decision, memory = decide(with_fleet(running), Memory(), Target(min_workers=2), NOW)
    assert (decision.replicas, memory.target, decision.limit) == (replicas, replicas, Limit.UNKNOWN)
    assert f"Unknown is not zero: {replicas} workers." in explain(decision, "")


def test_what_was_seen_once_is_held_when_it_is_seen_no_more() -> None:
    _, memory = decide(with_fleet(10), Memory(), Target(), NOW)
    decision, _ = decide(BLIND, memory, Target(), NOW + 1)
    assert decision.replicas == 10


@pytest.mark.parametrize("blind_first", [BLIND, with_fleet(8)])
def test_a_found_fleet_is_not_dropped_at_once_after_a_blind_beginning(
    blind_first: Observation,
) -> None:
    calm = replace(with_fleet(8), waiting=known(0), in_flight=known(0), idle=known(8))
    _, memory = decide(blind_first, Memory(), Target(), NOW)
    first, memory = decide(calm, memory, Target(), NOW + 1)
    later, _ = decide(calm, memory, Target(), NOW + 61)
    assert (first.replicas, later.replicas) == (8, 1)


@pytest.mark.parametrize(
    ("fallback", "number"), [(Fallback.NUMBER, 4), (Fallback.HIGHER, 4), (Fallback.HOLD, None)]
)
def test_a_configured_number_rules_when_its_time_has_come(
    fallback: Fallback, number: int | None
) -> None:
    target = Target(fallback=fallback, fallback_replicas=4, fallback_after=300)
    memory = Memory()
    for second, wanted in ((0, None), (300, None), (301, number), (302, number)):
        decision, memory = decide(BLIND, memory, target, NOW + second)
        assert (decision.replicas, memory.target) == (wanted, wanted)
        assert decision.limit is Limit.UNKNOWN


def test_a_person_may_order_a_number_without_anything_being_known() -> None:
    memory = apply_order(Memory(), order(OrderKind.OVERRIDE, 7))
    decision, memory = decide(BLIND, memory, Target(), NOW)
    assert (decision.replicas, memory.target) == (7, 7)
    assert "override to 7: a show" in decision.note


def test_a_pause_without_anything_known_has_no_number() -> None:
    memory = apply_order(Memory(), order(OrderKind.PAUSE))
    decision, memory = decide(BLIND, memory, Target(), NOW)
    assert (decision.replicas, decision.limit, memory.target) == (None, Limit.PAUSE, None)
    shown = verdict(Cycle(decision, Applied()), memory, bounds(Target(), NOW))
    assert shown.text == f"Paused; {NONE}"


def test_busy_workers_that_are_known_of_bound_the_first_number_from_below() -> None:
    target = Target(fallback=Fallback.NUMBER, fallback_replicas=2, fallback_after=0)
    half = replace(BLIND, in_flight=known(6))
    _, memory = decide(half, Memory(), target, NOW)
    decision, _ = decide(half, memory, target, NOW + 1)
    assert decision.replicas == 6
