"""What is expected a horizon ahead: moments of demand, and how many workers they want."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, exp, sqrt
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.policy.covering import least_covering
from scaler.policy.decide import decide
from scaler.policy.decision import Decision, ProposalKind
from scaler.policy.explain import explain, reason
from scaler.policy.mean_reversion import HOUR_S, Moments
from scaler.policy.memory import Memory, apply_order
from scaler.policy.observation import Fleet, Known, Observation, Signal, Unknown
from scaler.policy.orders import Order, OrderKind
from scaler.policy.prospect import Prospect, prospect
from scaler.policy.target import Target
from scaler.policy.usual import NOTHING, Load, Usual
from tests.support.former_rule import FormerRule

NOW = 1_700_000_000.0
LAG_S = 50.0
ENDLESS = settings(max_examples=300, deadline=None)
GONE = Unknown("no sample", "q")


def known(value: float) -> Known:
    return Known(float(value), 1.0, "q")


def look(
    waiting: float, busy: float, *, rate: Signal = GONE, startup: float = 45.0, **more: object
) -> Observation:
    fleet = Fleet(ceil(busy) + 1, ceil(busy) + 1)
    signals = {"burstiness": GONE, "mean_duration": known(45.0), "fleet": fleet, **more}
    return Observation(
        waiting=known(waiting),
        in_flight=known(busy),
        idle=known(1),
        arrival_rate=rate,
        startup=known(startup),
        **signals,  # type: ignore[arg-type]
    )


def taught(moments: Moments, values: list[float], *, step_s: float = 5.0) -> Moments:
    begin = moments.at or NOW
    for number, value in enumerate(values, start=1):
        moments = moments.add(value, begin + number * step_s, LAG_S, 0.0)
    return moments


def bursts(count: int, gap: int = 20) -> list[float]:
    """Each of sixty jobs, that are gone after four looks of five seconds."""
    return ([0.0] * (gap - 4) + [60.0, 45.0, 30.0, 15.0]) * count


# Moments


def test_they_are_those_of_the_last_hour() -> None:
    random, value, values = Random(4), 10.0, []
    for _ in range(20_000):
        value = 10.0 + 0.95 * (value - 10.0) + random.gauss(0.0, 1.0)
        values.append(value)
    moments = taught(Moments(), values)
    weights = [exp(-5.0 * age / HOUR_S) for age in range(len(values))]
    late = list(reversed(values))
    mean = sum(w * v for w, v in zip(weights, late, strict=True)) / sum(weights)
    variance = sum(w * (v - mean) ** 2 for w, v in zip(weights, late, strict=True)) / sum(weights)
    assert moments.mean == pytest.approx(mean, rel=0.02)
    assert moments.variance == pytest.approx(variance, rel=0.05)
    pairs = zip(weights, late, late[10:], strict=False)
    covariance = sum(w * (v - mean) * (before - mean) for w, v, before in pairs) / sum(weights)
    assert moments.persistence == pytest.approx(covariance / variance, abs=0.05)


def test_one_burst_is_no_series_and_a_series_is_one() -> None:
    assert taught(Moments(), bursts(1)).returns <= 1.0
    assert taught(Moments(), bursts(6)).returns > 2.0
    assert taught(Moments(), bursts(40)).persistence < 0.3
    assert taught(Moments(), [7.0] * 400).persistence == 1.0, "what never moves is as it was"


def test_a_series_that_stays_away_is_over_and_a_new_one_is_learnt_anew() -> None:
    """Of bursts every hundred seconds; twenty looks are one of those."""
    series = taught(Moments(), bursts(20))
    assert taught(series, [0.0] * 110).returns > 2.0, "one that is late may still come"
    over = taught(series, [0.0] * 135)
    assert over.returns == 0.0
    assert taught(over, bursts(2)).returns < 2.0
    assert taught(over, bursts(4)).returns > 2.0


def test_a_burst_that_stays_is_none_of_the_series() -> None:
    series = taught(Moments(), bursts(20))
    assert taught(series, [60.0] * 36).returns > 2.0
    assert taught(series, [60.0] * 46).returns == 0.0


def test_an_hour_in_which_nothing_was_known_ends_no_series() -> None:
    series = taught(Moments(), bursts(20))
    after = series.add(0.0, series.at + 1800.0, LAG_S, 0.0)
    assert taught(after, bursts(1)).returns > 2.0


def test_what_was_not_known_teaches_nothing_and_what_is_older_fades() -> None:
    moments = taught(Moments(), bursts(20))
    after = moments.add(60.0, moments.at + 600.0, LAG_S, 0.0)
    assert after[1:3] == pytest.approx((moments.weight * exp(-600 / HOUR_S), moments.mean))
    assert (after.variance, after.covariance) == (moments.variance, moments.covariance)
    assert after.past == ((after.at, 60.0),), "nothing is compared across the gap"
    assert moments.add(0.0, moments.at + 86_400.0, LAG_S, 0.0).returns < 0.01
    assert moments.add(0.0, moments.at - 5.0, LAG_S, 0.0).mean == moments.mean


def test_a_finer_tick_changes_little() -> None:
    random = Random(2)
    coarse_values = [value for _ in range(60) for value in bursts(1, random.randint(10, 40))]
    coarse = taught(Moments(), coarse_values)
    values = [value for value in coarse_values for _ in range(5)]
    fine = taught(Moments(), values, step_s=1.0)
    assert fine.mean == pytest.approx(coarse.mean, rel=0.1)
    assert fine.persistence == pytest.approx(coarse.persistence, abs=0.1)
    assert fine.returns == pytest.approx(coarse.returns, abs=2.0)


@pytest.mark.parametrize("lag_s", [1.0, 50.0, 600.0, 3900.0])
def test_any_start_up_is_learnt_and_little_is_kept(lag_s: float) -> None:
    moments = Moments()
    for second in range(int(max(1200.0, 3 * lag_s))):
        moments = moments.add(second // 97 % 2 * 9.0, NOW + second, lag_s, 0.0)
    assert moments.pairs > 0.0
    assert len(moments.past) <= 20


# Whole workers


@pytest.mark.parametrize("mean", [0.02, 0.5, 3.0, 30.0])
@pytest.mark.parametrize("dispersion", [1.0, 2.0, 10.0])
@pytest.mark.parametrize("busy", [0, 1, 6])
def test_the_least_that_covers(mean: float, dispersion: float, busy: int) -> None:
    random, stays, share = Random(1), 0.4, 0.8
    found = []
    for _ in range(20_000):
        here = sum(random.random() < stays for _ in range(busy))
        found.append(here + _arrivals(random, mean, dispersion))
    least = least_covering(busy, stays, mean, dispersion, share)
    covered = sum(each <= least for each in found) / len(found)
    below = sum(each < least for each in found) / len(found)
    assert below - 0.02 < share < covered + 0.02


def _arrivals(random: Random, mean: float, dispersion: float) -> int:
    """Negative binomial as a Poisson number whose mean is gamma distributed."""
    if dispersion > 1.0:
        mean = random.gammavariate(mean / (dispersion - 1.0), dispersion - 1.0)
    count, left = 0, random.expovariate(1.0)
    while left < mean:
        count += 1
        left += random.expovariate(1.0)
    return count


# What is wanted

SOMETIMES = st.one_of(st.just(GONE), st.floats(0.0, 5.0).map(known))
NUMBERS = st.floats(0.0, 300.0)
LOOKS = st.builds(
    look,
    st.integers(0, 200),
    st.integers(0, 60),
    rate=SOMETIMES,
    startup=st.floats(1.0, 300.0),
    burstiness=st.one_of(st.just(GONE), st.floats(0.0, 40.0).map(known)),
    mean_duration=st.one_of(st.just(GONE), st.floats(0.0, 900.0).map(known)),
)
WEIGHED = st.one_of(
    st.builds(Target, wait_weight=st.floats(0.0, 1000.0)),
    st.builds(Target, headroom=st.floats(0.0, 10.0)),
)


@st.composite
def usuals(draw: st.DrawFn, *, persistence: st.SearchStrategy[float]) -> Usual:
    demand, rate = (
        Moments(
            *(
                NOW,
                3600.0,
                draw(mean),
                3600.0,
                draw(NUMBERS) ** 2,
                0.0,
                5.0,
                True,
                NOW,
                60.0,
                draw(part),
            )
        )
        for mean, part in ((NUMBERS, persistence), (st.floats(0.0, 5.0), st.floats(0.0, 1.0)))
    )
    return NOTHING._replace(
        demand=demand, rate=rate, busy=NOTHING.busy._replace(weight=9.0, value=draw(NUMBERS))
    )


def expected(seen: Observation, usual: Usual, target: Target, *, high: int = 1000) -> Prospect:
    assert isinstance(seen.waiting, Known)
    assert isinstance(seen.in_flight, Known)
    assert isinstance(seen.startup, Known)
    rate = seen.arrival_rate.value if isinstance(seen.arrival_rate, Known) else None
    load = Load(seen.waiting.value + seen.in_flight.value, seen.in_flight.value, rate)
    return prospect(seen, load, usual, target, high=high, horizon_s=seen.startup.value + 2.0)


@ENDLESS
@given(LOOKS, usuals(persistence=st.floats(0.0, 1.0)), WEIGHED, st.integers(0, 400))
def test_one_job_more_never_wants_fewer(
    seen: Observation, usual: Usual, target: Target, high: int
) -> None:
    assert isinstance(seen.waiting, Known)
    assert isinstance(seen.in_flight, Known)
    few = expected(seen, usual, target, high=high)
    waits = replace(seen, waiting=known(seen.waiting.value + 1))
    runs = replace(seen, in_flight=known(seen.in_flight.value + 1))
    for more in (waits, runs):
        many = expected(more, usual, target, high=high)
        assert many.wanted >= few.wanted - 1e-9
        assert many.lasting >= few.lasting - 1e-9


@ENDLESS
@given(LOOKS, usuals(persistence=st.floats(0.0, 1.0)), WEIGHED, st.integers(1, 400))
def test_where_nothing_has_come_back_it_is_the_rule_as_it_was(
    seen: Observation, usual: Usual, target: Target, high: int
) -> None:
    once = usual._replace(demand=usual.demand._replace(returns=1.9))
    found = expected(seen, once, target, high=high)
    assert found == Prospect(found.wanted, found.wanted)
    assert found.wanted == _as_it_was(seen, target, high)


@ENDLESS
@given(LOOKS, usuals(persistence=st.floats(0.9, 1.0)), st.floats(0.0, 1.0), st.integers(1, 400))
def test_where_all_of_it_lasts_it_is_the_rule_as_it_was(
    seen: Observation, usual: Usual, wait_weight: float, high: int
) -> None:
    """Up to w = 1; for a larger one headroom is whole jobs."""
    target = Target(wait_weight=wait_weight)
    assert expected(seen, usual, target, high=high).wanted == _as_it_was(seen, target, high)


@ENDLESS
@given(LOOKS, usuals(persistence=st.floats(0.9, 1.0)), WEIGHED, st.integers(1, 400))
def test_where_all_of_it_lasts_and_many_arrive_it_is_so_for_every_weight(
    seen: Observation, usual: Usual, target: Target, high: int
) -> None:
    many = usual._replace(rate=usual.rate._replace(weight=0.0))
    rushed = replace(seen, arrival_rate=known(50.0), mean_duration=known(300.0))
    found = expected(rushed, many, target, high=high)
    assert found.wanted == found.lasting == _as_it_was(rushed, target, high)


def _as_it_was(seen: Observation, target: Target, high: int) -> float:
    """D + z·sqrt(IDC·λ·E[min(d, h)]) − R, written out."""
    waiting, busy, rate, spread, mean, startup = (
        signal.value if isinstance(signal, Known) else None
        for signal in (
            *(seen.waiting, seen.in_flight, seen.arrival_rate),
            *(seen.burstiness, seen.mean_duration, seen.startup),
        )
    )
    assert waiting is not None
    assert busy is not None
    assert startup is not None
    demand, horizon = waiting + busy, startup + 2.0
    stays = exp(-horizon / mean) if mean else 1.0
    there = mean * (1.0 - stays) if mean else horizon
    dispersion = 1.0 if spread is None else min(max(spread, 1.0), 30.0)
    z, share = target.weights.headroom, target.weights.relief
    saved = max(0.0, 1.0 - demand / high) * (share * busy * (1.0 - stays))
    return demand + z * sqrt(dispersion * (rate or 0.0) * there) - saved


@ENDLESS
@given(LOOKS, usuals(persistence=st.floats(0.0, 0.8)), WEIGHED)
def test_it_lies_between_what_is_usual_and_what_is_there(
    seen: Observation, usual: Usual, target: Target
) -> None:
    found = expected(seen, usual, target)
    assert isinstance(seen.waiting, Known)
    assert isinstance(seen.in_flight, Known)
    demand, mean = seen.waiting.value + seen.in_flight.value, usual.demand.mean
    assert found.usual == mean
    assert min(demand, mean) - 1e-9 <= found.expected <= max(demand, mean) + 1e-9


# Decisions


def series(target: Target, minutes: int, *, memory: Memory, start: float) -> list[Decision]:
    """A burst of forty jobs in every two minutes, of which all is gone after one."""
    decisions: list[Decision] = []
    for second in range(0, minutes * 60, 5):
        jobs = max(0, 40 - second % 120)
        seen = look(max(0, jobs - 12), min(jobs, 12), rate=known(0.33))
        decision, memory = decide(seen, memory, target, start + second)
        decisions.append(decision)
    return decisions


def test_a_series_is_met_by_fewer_than_come_and_its_ebb_by_more() -> None:
    target = Target(max_workers=100, service="s")
    decisions = series(target, 60, memory=Memory(), start=NOW)
    first, later = decisions[:24], decisions[-24:]
    assert max(each.replicas or 0 for each in later) < max(each.replicas or 0 for each in first)
    numbers = dict(later[0].proposals)
    assert 5 < numbers[ProposalKind.USUAL] < 12
    assert numbers[ProposalKind.USUAL] < numbers[ProposalKind.EXPECTED] < 30
    assert ProposalKind.USUAL not in dict(first[3].proposals)


def test_once_the_series_is_over_the_fleet_goes_back_to_the_minimum() -> None:
    target = Target(max_workers=100, service="s")
    decision, memory = decide(look(0, 0), Memory(), target, NOW)
    for second in range(5, 3600, 5):
        jobs = max(0, 40 - second % 120)
        seen = look(max(0, jobs - 12), min(jobs, 12), rate=known(0.33))
        decision, memory = decide(seen, memory, target, NOW + second)
    assert (decision.replicas or 0) > 1, "the next burst is counted on"
    for second in range(3600, 4440, 5):
        decision, memory = decide(look(0, 0, rate=known(0.0)), memory, target, NOW + second)
    assert decision.replicas == 1


def test_jobs_that_go_on_for_longer_than_a_burst_have_a_worker_each() -> None:
    target, memory = Target(max_workers=100, service="s"), Memory()
    for second in range(0, 3600, 5):
        jobs = max(0, 40 - second % 120)
        seen = look(max(0, jobs - 12), min(jobs, 12), rate=known(0.33))
        decision, memory = decide(seen, memory, target, NOW + second)
    for second in range(3600, 3900, 5):
        seen = look(60, 12, rate=known(0.2), mean_duration=GONE)
        decision, memory = decide(seen, memory, target, NOW + second)
    assert (decision.replicas or 0) >= 72


def test_where_nothing_comes_back_every_decision_is_the_former_rules() -> None:
    rule, memory, target = FormerRule(4.0, 1, 100), Memory(), Target(max_workers=100, service="s")
    for second in range(0, 7200, 5):
        jobs = 3 + second // 100
        seen = look(jobs // 3, jobs - jobs // 3, rate=known(0.1))
        decision, memory = decide(seen, memory, target, NOW + second)
        assert decision.replicas == rule.number(seen, NOW + second)


@pytest.mark.parametrize("kind", [OrderKind.PAUSE, OrderKind.OVERRIDE])
def test_an_order_in_force_teaches_nothing(kind: OrderKind) -> None:
    order = Order(
        at=NOW,
        order=kind,
        reason="a deploy",
        by="me",
        until=NOW + 300,
        replicas=3 if kind is OrderKind.OVERRIDE else None,
    )
    memory = apply_order(Memory(at=NOW, target=3), order)
    for second in range(0, 300, 5):
        _, memory = decide(look(second, 3), memory, Target(), NOW + second)
    assert memory.usual == NOTHING
    for second in range(300, 400, 5):
        _, memory = decide(look(5, 3), memory, Target(), NOW + second)
    assert memory.usual.demand.mean == pytest.approx(8.0)


def test_a_roll_out_teaches_nothing() -> None:
    memory = Memory()
    for second in range(0, 300, 5):
        seen = look(second, 3, fleet=Fleet(4, 4, hold="a roll-out"))
        _, memory = decide(seen, memory, Target(), NOW + second)
    assert memory.usual == NOTHING


@pytest.mark.parametrize(
    ("waiting", "said"),
    [
        (60, "bursts come back: 18 of the 40 above the mean of 25 are counted on"),
        (0, "bursts come back: 11 of the 20 below the mean of 25 are expected"),
        (20, ""),
    ],
)
def test_the_explanation_says_what_is_counted_on(waiting: int, said: str) -> None:
    moments = Moments(NOW, 3600.0, 25.0, 3600.0, 400.0, 0.0, 5.0, True, NOW, 60.0, 0.45 * 0.83)
    memory = Memory(at=NOW, target=20, usual=NOTHING._replace(demand=moments))
    decision, _ = decide(look(waiting, 5), memory, Target(max_workers=1000), NOW + 5)
    explanation = explain(decision, "")
    assert said in explanation
    assert ("bursts" in explanation) is bool(said)
    assert "usual demand 25, expected demand" in reason(decision)
