"""A clock that stands, jumps or runs back: no number explodes, no wait outlasts itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.policy.ceiling import ceiling
from scaler.policy.decide import decide
from scaler.policy.decision import Decision
from scaler.policy.forecast import HOUR_S, Hours
from scaler.policy.limits import Limit
from scaler.policy.memory import Memory, apply_order, marks, order_at
from scaler.policy.observation import Fleet, Known, Observation, Unknown
from scaler.policy.orders import Order, OrderKind
from scaler.policy.pools import waited
from scaler.policy.remember import rebuild, remember
from scaler.policy.target import Fallback, Priority, Rule, Target
from scaler.policy.trailing_maxima import Window, peak, push
from scaler.policy.usual import NOTHING, Load, Usual
from tests.support.targets import targets

NOW = 1_700_000_000.0
GONE = Unknown("no sample", "q")
ENDLESS = settings(max_examples=200, deadline=None)
# On a grid, so that times are exact whatever is added to them.
STEPS = st.integers(-4 * 7200, 4 * 7200).map(lambda quarters: quarters / 4)
TICKS = st.integers(0, 360).map(lambda quarters: quarters / 4)
PRIORITIES = st.sampled_from(Priority)


def known(value: float) -> Known:
    return Known(value, 0.5, "q")


@st.composite
def looks(draw: st.DrawFn) -> Observation:
    busy, idle, starting = (draw(st.integers(0, most)) for most in (20, 20, 4))
    running = busy + idle + starting
    unhealthy = draw(st.integers(0, min(2, running - busy)))
    waiting = draw(st.integers(0, 60))
    blind = draw(st.sampled_from([False, False, False, True]))
    hold = draw(st.sampled_from([None, None, None, "tasks end after SIGTERM"]))
    return Observation(
        waiting=GONE if blind else known(waiting),
        in_flight=known(busy),
        idle=known(idle),
        arrival_rate=known(draw(st.sampled_from([0.0, 0.25, 4.0]))),
        burstiness=known(draw(st.sampled_from([1.0, 9.0]))),
        mean_duration=known(draw(st.sampled_from([0.5, 30.0, 600.0]))),
        startup=known(draw(st.sampled_from([0.0, 8.0, 64.0]))),
        fleet=Fleet(
            running, running, starting, unhealthy=unhealthy, hold=hold, hold_yields=hold is not None
        ),
    )


def orders() -> st.SearchStrategy[Order | None]:
    return st.none() | st.builds(
        Order,
        at=st.just(NOW),
        order=st.just(OrderKind.OVERRIDE),
        reason=st.just("x"),
        by=st.just("me"),
        until=st.integers(1, 300).map(lambda seconds: NOW + seconds),
        replicas=st.integers(0, 9),
    )


def steady(target: Target) -> Target:
    """Without what goes by the calendar, and with waits on the grid."""
    rounded = {
        name: None if value is None else round(value)
        for name in ("cooldown_period", "emergency_after")
        for value in [getattr(target, name)]
    }
    if rounded["emergency_after"] == 0:
        rounded["emergency_after"] = 1
    return target.model_copy(
        update={**rounded, "fallback_after": float(round(target.fallback_after)), "forecast": False}
    )


def essence(decision: Decision) -> tuple[object, ...]:
    return (
        decision.replicas,
        decision.action,
        decision.limit,
        decision.retire,
        decision.proposals,
        decision.urgent,
        decision.note,
    )


@ENDLESS
@given(
    targets(),
    PRIORITIES,
    orders(),
    st.lists(st.tuples(looks(), TICKS, st.none() | STEPS), max_size=20),
)
def test_a_step_that_is_told_changes_no_decision(
    target: Target,
    priority: Priority,
    order: Order | None,
    ticks: list[tuple[Observation, float, float | None]],
) -> None:
    target = steady(target).model_copy(update={"priority": priority})
    begin = Memory() if order is None else apply_order(Memory(), order)
    straight = stepped = begin
    now, by = NOW, 0.0
    for seen, after, step in ticks:
        now += after
        if step is not None:
            by += step
            stepped = stepped.shifted(step)
        one, straight = decide(seen, straight, target, now)
        other, stepped = decide(seen, stepped, target, now + by)
        assert essence(other) == essence(one)


@ENDLESS
@given(
    targets(),
    PRIORITIES,
    st.lists(st.tuples(looks(), st.floats(-7200, 7200) | st.just(0.0)), max_size=20),
)
def test_any_clock_leaves_every_promise(
    target: Target, priority: Priority, ticks: list[tuple[Observation, float]]
) -> None:
    target = target.model_copy(update={"priority": priority, "forecast": True})
    memory = Memory()
    for seen, now in zip(
        (seen for seen, _ in ticks), accumulate((by for _, by in ticks), initial=NOW), strict=False
    ):
        decision, after = decide(seen, memory, target, now)
        assert decision.replicas is not None
        assert seen.fleet is not None
        held = decision.limit is not None and decision.limit.row.holds
        assert decision.replicas <= ceiling(seen, memory, decision.bounds, held=held)
        assert isinstance(seen.in_flight, Known)
        fit = seen.fleet.running - seen.fleet.unhealthy
        assert decision.replicas >= min(seen.in_flight.value, fit)
        if target.policy is not Rule.RAW and isinstance(seen.waiting, Unknown):
            assert decision.retire == 0
        assert all(abs(value) <= 2 * 10_000 for _, value in decision.proposals)
        memory = after


@pytest.mark.parametrize("priority", Priority)
@pytest.mark.parametrize("by", [-120.0, -3600.0, -7200.0, 0.0, -1e9, 1e9])
def test_no_number_explodes_where_a_step_is_not_told(priority: Priority, by: float) -> None:
    """As it was: an hour back under `cheap` wanted 10^12 workers, two minutes ended in an error."""
    target = Target(priority=priority, max_workers=1000)
    seen = Observation(
        waiting=known(3),
        in_flight=known(4),
        idle=known(0),
        arrival_rate=known(0.5),
        burstiness=known(2),
        mean_duration=known(30),
        startup=known(10),
        fleet=Fleet(4, 4),
    )
    first, memory = decide(seen, Memory(), target, NOW)
    for second in range(3):
        decision, memory = decide(seen, memory, target, NOW + by + second)
        assert first.replicas is not None
        assert decision.replicas is not None
        assert abs(decision.replicas - first.replicas) <= 5, "as after a tick of 0 to 60 s"


def remembered(target: Target, *steps: tuple[float, Observation]) -> Memory:
    memory = Memory()
    for after, seen in steps:
        _, memory = decide(seen, memory, target, NOW + after)
    return memory


def plain(waiting: float | None, busy: float, idle: float = 0) -> Observation:
    running = int(busy + idle)
    return Observation(
        waiting=GONE if waiting is None else known(waiting),
        in_flight=known(busy),
        idle=known(idle),
        arrival_rate=GONE,
        burstiness=GONE,
        mean_duration=GONE,
        startup=known(10),
        fleet=Fleet(running, running),
    )


BACK = pytest.mark.parametrize("back", [120.0, 3600.0, 7200.0])


@BACK
def test_a_cooldown_lasts_no_longer_than_itself(back: float) -> None:
    target = Target(cooldown_period=60)
    memory = remembered(target, (0, plain(0, 0, 1)), (5, plain(3, 1)))
    early, memory = decide(plain(9, 1), memory, target, NOW + 5 - back)
    later, _ = decide(plain(9, 1), memory, target, NOW + 65 - back)
    assert (early.limit, later.replicas) == (Limit.COOLDOWN, 10)


@BACK
def test_a_fallback_still_comes(back: float) -> None:
    target = Target(fallback=Fallback.NUMBER, fallback_replicas=7, fallback_after=60)
    memory = remembered(target, (0, plain(0, 2)))
    held, memory = decide(plain(None, 2), memory, target, NOW - back)
    later, _ = decide(plain(None, 2), memory, target, NOW + 61 - back)
    assert (held.replicas, later.replicas) == (2, 7)


@BACK
def test_a_cold_scaler_counts_from_its_first_look(back: float) -> None:
    blind = replace(plain(None, 0), in_flight=GONE, fleet=None)
    target = Target(fallback=Fallback.NUMBER, fallback_replicas=7, fallback_after=60)
    _, memory = decide(blind, Memory(), target, NOW)
    cold, memory = decide(blind, memory, target, NOW - back)
    later, _ = decide(blind, memory, target, NOW + 61 - back)
    assert (cold.replicas, later.replicas) == (None, 7)


@BACK
def test_an_idle_worker_and_a_kept_maximum_are_kept_no_longer(back: float) -> None:
    burst, quiet = plain(11, 1), plain(0, 2, 8)
    steps = [(0, burst), (45, quiet), (300, burst), (301, burst)]
    memory = remembered(Target(), *steps)
    kept, memory = decide(quiet, memory, Target(), NOW + 345 - back)
    later, _ = decide(quiet, memory, Target(), NOW + 430 - back)
    assert (kept.replicas, later.replicas) == (10, 2)


@BACK
def test_a_rate_limit_holds_for_a_minute(back: float) -> None:
    target = Target(max_added_per_minute=2)
    memory = remembered(target, (0, plain(9, 1)))
    soon, memory = decide(plain(9, 1), memory, target, NOW - back)
    later, _ = decide(plain(9, 1), memory, target, NOW + 61 - back)
    assert (soon.replicas, later.replicas) == (3, 5)


@BACK
def test_an_emergency_is_counted_on(back: float) -> None:
    held = replace(plain(2, 1), fleet=Fleet(1, 1, hold="tasks end", hold_yields=True))
    target = Target(emergency_after=60)
    memory = remembered(target, (0, held))
    early, memory = decide(held, memory, target, NOW - back)
    later, _ = decide(held, memory, target, NOW + 61 - back)
    assert (early.urgent, later.urgent) == (False, True)


def test_a_moment_that_lies_ahead_by_itself_is_taken_for_now() -> None:
    """A part of a memory that was damaged, say."""
    wrong = NOW + 1e6
    memory = Memory(
        at=NOW - 1,
        target=4,
        changed_at=wrong,
        known_at=wrong,
        short_since=wrong,
        capped_at=wrong,
        capped_until=wrong,
        capped_high=9,
        wanted=((wrong, 8),),
        highs=((wrong, 9),),
        lows=((wrong, -1),),
    )
    seen = memory.as_of(NOW)
    assert (seen.changed_at, seen.known_at, seen.short_since, seen.capped_at) == (NOW,) * 4
    assert (seen.wanted, seen.highs, seen.lows) == (((NOW, 8),), ((NOW, 9),), ((NOW, -1),))
    assert seen.capped_until == NOW + 600
    assert seen.as_of(NOW) is seen


def taught() -> Usual:
    """Of a minute and a half."""
    usual = NOTHING
    for second in range(-90, 0, 10):
        usual = usual.seen(Load(second % 7, 3.0, 0.5), NOW + second, 60.0)
    return usual


def test_all_that_is_a_time_moves_and_nothing_else() -> None:
    order = Order(at=NOW, order=OrderKind.PAUSE, reason="x", by="me", until=NOW + 60)
    memory = Memory(
        at=NOW,
        target=4,
        replaced=1,
        changed_at=NOW - 9,
        known_at=NOW - 8,
        busy=3,
        wanted=((NOW - 7, 5), (NOW, 2)),
        short_since=NOW - 6,
        capped_at=NOW - 5,
        capped_again=True,
        capped_until=NOW + 50,
        capped_high=9,
        highs=((NOW - 4, 5),),
        lows=((NOW - 3, -2),),
        usual=taught(),
        hours=Hours(5, (1.0, 2.0), 3.0, 4),
        order=order,
    )
    shifted = memory.shifted(-3600)
    for name, before, after in zip(Memory._fields, memory, shifted, strict=True):
        timed = name not in (
            *("target", "replaced", "busy", "capped_again", "capped_high", "hours", "outlook"),
        )
        assert (before != after) is timed, name
        assert name in marks()
    assert shifted.wanted == ((NOW - 3607, 5), (NOW - 3600, 2))
    assert shifted.capped_until == NOW - 3550
    assert shifted.shifted(3600) == memory


@pytest.mark.parametrize("by", [-3600.0, 3600.0])
def test_an_order_for_a_minute_ends_after_a_minute(by: float) -> None:
    order = Order(at=NOW, order=OrderKind.PAUSE, reason="x", by="me", until=NOW + 60)
    memory = apply_order(Memory(at=NOW, target=1), order).shifted(by)
    assert order_at(memory, NOW + by + 59) is not None
    assert order_at(memory, NOW + by + 60) is None


def test_a_step_back_that_is_not_told_ends_no_order() -> None:
    """It may have been given by the new clock."""
    order = Order(at=NOW - 3500, order=OrderKind.PAUSE, reason="x", by="me", until=NOW - 3400)
    memory = apply_order(Memory(at=NOW, target=1), order)
    decision, _ = decide(plain(9, 1), memory, Target(), NOW - 3500)
    assert decision.limit is Limit.PAUSE


@ENDLESS
@given(st.lists(st.tuples(st.integers(-9, 9).map(lambda h: h * 1800), st.integers(0, 9))))
def test_hours_go_back_and_forth(steps: list[tuple[int, int]]) -> None:
    hours, now = Hours(), int(NOW)
    for by, demand in steps:
        now += by
        hours = hours.add(now, demand)
        hour = now // HOUR_S
        assert hours.last in (hour - 1, hour), "the present hour, or the one that is not over yet"
        assert hours.samples >= 1
        assert 0 <= hours.sum <= 9 * len(steps)
        assert len(hours.means) <= 9 * len(steps)
        assert all(mean is None or 0 <= mean <= 9 for mean in hours.means)


def test_hours_that_were_counted_by_a_wrong_clock_are_given_up() -> None:
    hours = Hours()
    for hour in range(10):
        hours = hours.add(NOW + hour * HOUR_S, 3.0)
    hours = hours.add(NOW + 4 * HOUR_S, 5.0)
    begin = int(NOW // HOUR_S)
    assert [hours.mean(begin + hour) for hour in range(10)] == [3.0] * 4 + [None] * 6
    assert hours.add(NOW + 5 * HOUR_S, 1.0).mean(begin + 4) == 5.0


@ENDLESS
@given(targets(), st.lists(st.tuples(looks(), st.floats(-7200, 7200)), max_size=12))
def test_the_past_may_be_recorded_by_any_clock(
    target: Target, samples: list[tuple[Observation, float]]
) -> None:
    times = list(accumulate(by for _, by in samples))
    seen = [(NOW + at, one) for at, (one, _) in zip(times, samples, strict=True)]
    memory = rebuild(seen, target, decided=[(NOW + at, 3) for at in times])
    memory = rebuild(reversed(seen), target, last=memory)
    for observation, by in samples:
        memory = remember(observation, memory, target, NOW + by)
        assert all(0 <= value <= 10_001 for _, value in memory.wanted)
        assert memory.at is None or memory.at <= NOW + by


@given(st.lists(st.tuples(st.floats(-100, 100), st.integers(0, 9)), min_size=1))
def test_a_window_keeps_its_order_whatever_the_clock(points: list[tuple[float, int]]) -> None:
    window: Window = ()
    now = 0.0
    for by, value in points:
        now += by
        window = push(window, now, value, 60.0)
        times, values = [at for at, _ in window], [value for _, value in window]
        assert times == sorted(times)
        assert times[-1] == now
        assert values == sorted(set(values), reverse=True)
        assert peak(window, now - 60) == values[0]


def test_a_pool_is_waited_for_no_longer_when_the_clock_runs_back() -> None:
    fleet = Fleet(3, 3, pending=2)
    patience = waited(None, fleet, 60, NOW)
    patience = waited(patience, fleet, 60, NOW - 3600)
    assert not waited(patience, fleet, 60, NOW - 3541).given_up
    assert waited(patience, fleet, 60, NOW - 3540).given_up


@pytest.mark.parametrize("rule", Rule)
@pytest.mark.parametrize("now", [-1e12, 0.0, 1e12, 1e300])
def test_a_time_beyond_the_calendar_is_survived(rule: Rule, now: float) -> None:
    day = {"name": "day", "start": "0 8 * * *", "end": "0 18 * * *", "min_workers": 2}
    target = Target.model_validate({"policy": rule, "query": "x", "schedules": [day]})
    seen = replace(plain(3, 1), extra=(("query", known(3)),))
    memory = Memory()
    for moment in (NOW, now, NOW):
        decision, memory = decide(seen, memory, target, moment)
        assert decision.replicas is not None
        assert 1 <= decision.replicas <= 10
