"""The forecast: what it expects, and when it is believed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.policy.decide import decide
from scaler.policy.explain import reason
from scaler.policy.forecast import DAY, HOUR_S, Hours, expect, forecast
from scaler.policy.memory import Memory
from scaler.policy.observation import Fleet, Known, Observation, Unknown
from scaler.policy.target import Target


def known(value: float) -> Known:
    return Known(value, 0.0, "")


def daily(hour: int) -> float:
    return 10 + 8 * math.sin(2 * math.pi * hour / DAY)


def hours_of(means: list[float]) -> Hours:
    hours = Hours()
    for hour, mean in enumerate([*means, 0.0]):
        hours = hours.add(hour * HOUR_S, mean)
    return hours


def test_means_are_kept_by_the_hour_and_gaps_are_unknown() -> None:
    hours = Hours()
    for at, demand in ((0.0, 2.0), (1800.0, 4.0), (3 * HOUR_S, 9.0), (4 * HOUR_S, 1.0)):
        hours = hours.add(at, demand)
    assert [hours.mean(hour) for hour in range(5)] == [3.0, None, None, 9.0, None]


@given(st.lists(st.integers(0, 30 * HOUR_S), max_size=60))
def test_every_hour_is_where_it_belongs(times: list[int]) -> None:
    hours = Hours()
    samples: dict[int, list[float]] = {}
    for step, at in enumerate(sorted(times)):
        hours = hours.add(float(at), float(step))
        samples.setdefault(at // HOUR_S, []).append(float(step))
    for hour, values in samples.items():
        if hour <= hours.last:
            assert hours.mean(hour) == pytest.approx(sum(values) / len(values))


def test_it_expects_yesterdays_and_last_weeks_hour() -> None:
    hours = hours_of([float(hour) for hour in range(200)])
    assert expect(hours, 200) == (200 - 24 + 200 - 168) / 2


def test_a_daily_load_is_believed_and_a_wandering_one_is_not() -> None:
    regular = forecast(hours_of([daily(hour) for hour in range(24 * 9)]), 24 * 9)
    assert regular.trusted
    assert regular.expected == pytest.approx(daily(0))
    wandering = [float(hour % 11) + hour / 10 for hour in range(24 * 9)]
    steady = [hour / 10 for hour in range(24 * 9)]
    assert not forecast(hours_of(steady), 24 * 9).trusted
    assert not forecast(hours_of(wandering[:30]), 30).trusted, "too short a past to judge"


def decided(target: Target, load: list[float]) -> list[tuple[int, str]]:
    memory, made = Memory(), []
    unknown = Unknown("", "")
    for step in range(len(load) * 12):
        now = step * 300.0
        demand = load[step // 12]
        seen = Observation(
            waiting=known(0.0),
            in_flight=known(demand),
            idle=known(0.0),
            arrival_rate=unknown,
            burstiness=unknown,
            mean_duration=unknown,
            startup=known(10.0),
            fleet=Fleet(int(demand), int(demand)),
        )
        decision, memory = decide(seen, memory, target, now)
        assert decision.replicas is not None
        made.append((decision.replicas, reason(decision)))
    return made


def test_it_only_ever_raises_the_number_and_says_so() -> None:
    load = [float(round(daily(hour))) for hour in range(24 * 9)]
    load[-20:] = [2.0] * 20
    plain = decided(Target(max_workers=30), load)
    raised = decided(Target(max_workers=30, forecast=True), load)
    assert all(b >= a for (a, _), (b, _) in zip(plain, raised, strict=True))
    assert any(b > a for (a, _), (b, _) in zip(plain[-240:], raised[-240:], strict=True))
    assert any("forecast floor" in reason for _, reason in raised[-240:])


@given(st.lists(st.none() | st.integers(0, 50), min_size=1, max_size=300), st.data())
def test_hours_recorded_elsewhere_fill_every_gap(
    loads: list[int | None], data: st.DataObject
) -> None:
    """Whatever was missed, with the hours from elsewhere it is as if nothing had been."""
    whole, kept, first = Hours(), Hours(), 1000
    for hour, load in enumerate([*loads, 5], start=first):
        if load is not None:
            whole = whole.add(float(hour * HOUR_S), float(load))
            if data.draw(st.booleans()):
                kept = kept.add(float(hour * HOUR_S), float(load))
    present = first + len(loads)
    recorded = {
        hour: float(load) for hour, load in enumerate(loads, start=first) if load is not None
    }
    again = kept.refilled(recorded, present)
    assert again.last == whole.last == present - 1
    assert [again.mean(hour) for hour in range(first, present)] == [
        whole.mean(hour) for hour in range(first, present)
    ]
    assert forecast(again, present) == forecast(whole, present)
    assert again.add(present * HOUR_S + 1.0, 9.0).last == present - 1
