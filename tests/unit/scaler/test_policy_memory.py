"""Every field of the memory outlives a restart in the way that it says where it is declared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from scaler.policy.decide import decide
from scaler.policy.memory import Memory, Remembered, Survival, apply_order, look_back, marks
from scaler.policy.observation import Fleet, Known, Observation
from scaler.policy.orders import Order, OrderKind
from scaler.policy.remember import rebuild
from scaler.policy.target import Fallback, Schedule, Target

NAMES = list(Memory._fields)
BEGIN = 1_700_000_400.0
TICK_S = 5.0
LENGTH = 900
"""Ticks: more than an hour, so that an hour ends within."""
# BEGIN is 22:20, the end 23:35; in the last minute there is room above what was too low before.
LOW = Schedule(name="low", start="0 22 * * *", end="34 23 * * *", max_workers=12)
TARGET = Target.model_validate(
    {
        "max_workers": 20,
        "schedules": (LOW,),
        "forecast": True,
        "cooldown_period": 10,
        "max_added_per_minute": 5,
        "max_removed_per_minute": 5,
    }
)
OVER = Order(at=BEGIN - 2, order=OrderKind.PAUSE, reason="over", by="me", until=BEGIN - 1)


def observations() -> Iterator[tuple[float, Observation]]:
    """Bursts that exceed the maximum twice, then jobs that wait, the fleet being unhealthy."""

    def known(value: float) -> Known:
        return Known(value, 0.5, "q")

    for tick in range(LENGTH):
        burst = LENGTH - tick in (*range(56, 60), *range(24, 28))
        last = tick >= LENGTH - 2
        yield (
            BEGIN + tick * TICK_S,
            Observation(
                waiting=known(40 if burst else 2 if last else tick % 3),
                in_flight=known(3 + tick % 4),
                idle=known(0),
                arrival_rate=known(0.1),
                burstiness=known(2),
                mean_duration=known(60),
                startup=known(90),
                fleet=Fleet(12, 12, unhealthy=2),
            ),
        )


@cache
def unbroken() -> tuple[Memory, list[tuple[float, int]]]:
    """The memory that all of it leaves, and what was decided when."""
    memory, decided = apply_order(Memory(), OVER), []
    for at, seen in observations():
        decision, memory = decide(seen, memory, TARGET, at)
        assert decision.replicas is not None
        # Without those run in place of unhealthy ones, as Memory.target has it.
        decided.append((at, decision.replicas - memory.replaced))
    return memory, decided


def rebuilt() -> Memory:
    """Out of what Prometheus has recorded of it: signals and decisions, never the fleet."""
    _, decided = unbroken()
    found = [(BEGIN, 10), *decided]
    return rebuild(
        [(at, replace(seen, fleet=None)) for at, seen in observations()], TARGET, decided=found
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_field_says_how_it_outlives_a_restart(name: str) -> None:
    mark = marks().get(name)
    assert isinstance(mark, Remembered), f"annotate Memory.{name} with a Remembered"
    assert isinstance(mark.of, Survival)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_at_work_in_the_story(name: str) -> None:
    memory, _ = unbroken()
    assert getattr(memory, name) != getattr(Memory(), name), (
        f"have observations() of {__file__} make use of Memory.{name}"
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_field_comes_back_from_the_history(name: str) -> None:
    memory, _ = unbroken()
    read = Memory.from_json(json.loads(json.dumps(memory.to_json())))
    if name == "order":
        assert read.order is not None
        assert (read.order.order, read.order.reason, read.order.until) == (
            OVER.order,
            OVER.reason,
            OVER.until,
        )
    else:
        assert getattr(read, name) == getattr(memory, name)
        assert type(getattr(read, name)) is type(getattr(memory, name))


@pytest.mark.parametrize("name", NAMES)
def test_without_history_it_is_what_it_says(name: str) -> None:
    memory, _ = unbroken()
    wanted = getattr(Memory() if marks()[name].of is Survival.KEPT else memory, name)
    assert getattr(rebuilt(), name) == wanted, (
        f"Memory.{name} is said to be {marks()[name].of.value}: have scaler/policy/remember.py "
        "set it, or declare it Survival.KEPT and say why that does no harm"
    )


def test_an_override_comes_back_and_what_another_version_wrote_is_read() -> None:
    order = Order(at=5, order=OrderKind.OVERRIDE, reason="x", by="y", until=9.0, replicas=3)
    content = apply_order(Memory(at=1.0, target=2), order).to_json()
    assert content["override"] == {"reason": "x", "until": 9.0, "replicas": 3}
    assert content["pause"] is None
    read = Memory.from_json({**content, "of a later version": 7})
    assert read.order is not None
    assert (read.order.replicas, read.order.until, read.at, read.target) == (3, 9.0, 1.0, 2)
    older = {"at": 1.0, "target": 2, "pause": {"reason": "x", "until": None}}
    assert Memory.from_json(older).order == Order(
        at=1.0, order=OrderKind.PAUSE, reason="x", by="", until=None
    )


def test_the_past_is_asked_for_as_far_back_as_a_field_needs() -> None:
    plain = Target()
    assert look_back(plain, Survival.SEEN) == look_back(plain, Survival.DECIDED) == 3600
    patient = Target(fallback=Fallback.HOLD, fallback_after=9000, cooldown_period=8000)
    assert look_back(patient, Survival.SEEN) == 9000
    assert look_back(patient, Survival.DECIDED) == 8000
