"""What grows is counted on: how much that is, where it is nothing, and what it never does."""

from __future__ import annotations

from dataclasses import replace
from math import exp, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.policy.growth import growth
from scaler.policy.mean_reversion import Moments
from scaler.policy.observation import Fleet, Known, Observation, Signal, Unknown, believed
from scaler.policy.prospect import Prospect, prospect
from scaler.policy.staffing import dispersion, lasting
from scaler.policy.target import Target, weights
from scaler.policy.usual import Load, Usual

GONE = Unknown("no sample", "q")
WAITING = 4.0


def known(value: float) -> Known:
    return Known(float(value), 1.0, "q")


def look(
    waiting: float,
    busy: float,
    *,
    recent: Signal = GONE,
    rate: Signal = known(2.0),  # noqa: B008 - never changed
    spread: float = 1.0,
    mean: Signal = known(60.0),  # noqa: B008 - never changed
) -> Observation:
    return Observation(
        waiting=known(waiting),
        in_flight=known(busy),
        idle=known(0),
        arrival_rate=rate,
        burstiness=known(spread),
        mean_duration=mean,
        startup=known(45.0),
        fleet=Fleet(50, 50),
        recent_rate=recent,
    )


def grown(seen: Observation, horizon_s: float = 60.0, wait: float = WAITING) -> float:
    busy = seen.in_flight
    assert isinstance(busy, Known)
    there = lasting(seen, horizon_s)
    return growth(seen, busy.value, dispersion(seen), there, weights(wait))


def test_what_arrives_beyond_what_ends_and_beyond_chance() -> None:
    # Of jobs of 60 s, 1 - 1/e end within 60 s; as many seconds of a minute does each arrive for.
    ends = 1.0 - exp(-1.0)
    arriving = 2.0 * 60.0 * ends
    chance = 0.5 * sqrt(4.0 * arriving * (1.0 + ends))
    expected = arriving - 30.0 * ends - chance
    assert expected > 20.0
    seen = look(0, 30, recent=known(2.0), spread=4.0)
    assert grown(seen) == pytest.approx(0.8 * expected)
    assert grown(seen, wait=1.0) == pytest.approx(0.5 * expected)
    assert grown(seen, wait=0.0) == 0.0, "whoever may wait for ever starts nobody ahead"


def test_where_as_much_ends_as_arrives_nothing_grows() -> None:
    # Two a second for a minute each: 120 are in progress.
    assert grown(look(0, 120, recent=known(2.0))) == 0.0
    assert grown(look(0, 119, recent=known(2.0))) == 0.0, "that is chance"
    assert grown(look(0, 200, recent=known(2.0))) == 0.0
    assert grown(look(0, 0, recent=known(0.0))) == 0.0
    assert grown(look(0, 60, recent=known(2.0), spread=30.0)) < grown(
        look(0, 60, recent=known(2.0))
    ), "the burstier, the more of it may be chance"


@pytest.mark.parametrize(
    "unknown",
    [{"recent": GONE}, {"rate": GONE}, {"mean": GONE}, {"mean": known(0.0)}],
    ids=["minute", "rate", "duration", "no duration"],
)
def test_what_is_not_known_does_not_grow(unknown: dict[str, Signal]) -> None:
    assert grown(look(0, 1, recent=known(5.0))) > 0.0
    assert grown(look(0, 1, **{"recent": known(5.0), **unknown})) == 0.0  # type: ignore[arg-type]


def test_one_burst_is_no_growth() -> None:
    # A hundred jobs within a minute: the rate over five is a fifth of its own.
    burst = look(90, 10, recent=known(100 / 60), rate=known(100 / 300))
    assert grown(burst) == 0.0
    # Nor is what has come in two minutes after nothing, beyond what the first of them brought.
    second = look(90, 10, recent=known(100 / 60), rate=known(120 / 300))
    same = look(90, 10, recent=known(20 / 60), rate=known(100 / 300))
    assert grown(second) == pytest.approx(grown(same))
    kept_up = look(90, 10, recent=known(100 / 60), rate=known(200 / 300))
    assert grown(kept_up) > 20.0


@given(
    st.floats(0.0, 100.0),
    st.floats(0.0, 100.0),
    st.floats(0.0, 100.0),
    st.floats(0, 500),
    st.floats(1, 30),
)
def test_the_more_arrive_the_more_it_grows(
    one: float, other: float, before: float, busy: float, spread: float
) -> None:
    less, more = (
        grown(look(0, busy, recent=known(last), rate=known((last + before) / 5), spread=spread))
        for last in sorted((one, other))
    )
    assert 0.0 <= less <= more + 1e-9


# In the number that is wanted


def returning(persistence: float = 1.0, rates: float = 1.0, variance: float = 100.0) -> Usual:
    """Demand has come back often."""
    demand = Moments(
        at=1000.0,
        weight=3000.0,
        mean=20.0,
        pairs=3000.0,
        variance=variance,
        covariance=variance * persistence,
        returns=9.0,
        persistence=persistence,
    )
    return Usual(demand, Moments(weight=3000.0, mean=0.5, persistence=rates))


def ahead(
    seen: Observation, usual: Usual, *, wait: float = WAITING, high: int = 1000, lag_s: float = 60.0
) -> Prospect:
    waiting, busy, rate = seen.waiting, seen.in_flight, seen.arrival_rate
    assert isinstance(waiting, Known)
    assert isinstance(busy, Known)
    load = Load(
        waiting.value + busy.value, busy.value, rate.value if isinstance(rate, Known) else None
    )
    target = Target(wait_weight=wait, max_workers=max(1, high))
    return prospect(seen, load, usual, target, high=high, horizon_s=lag_s)


STEADY = look(0, 30, rate=known(0.9))
RISING = look(0, 30, rate=known(0.9), recent=known(2.0))


def test_it_is_wanted_beyond_demand_and_measures_the_maximum() -> None:
    before, after = ahead(STEADY, returning()), ahead(RISING, returning())
    assert after.wanted == pytest.approx(before.wanted + grown(RISING))
    assert after.lasting >= after.wanted > before.lasting


def test_it_counts_before_anything_has_come_back_and_nothing_else_does() -> None:
    new = Usual()
    assert ahead(RISING, new).wanted == pytest.approx(ahead(STEADY, new).wanted + grown(RISING))
    assert ahead(RISING, new).usual is None


def test_where_departures_do_not_last_as_little_of_it_is_counted_on() -> None:
    half = returning(persistence=0.45, variance=0.0)
    gain = ahead(RISING, half).wanted - ahead(STEADY, half).wanted
    expected = ahead(STEADY, half).expected
    assert expected is not None
    part = (expected - 20.0) / (30.0 - 20.0)
    assert 0.4 < part < 0.6
    assert gain == pytest.approx(part * grown(RISING))
    whole = ahead(RISING, returning())
    assert ahead(RISING, half).lasting == whole.lasting, "the maximum is measured by all of it"
    passing = returning(rates=0.5)
    gain = ahead(RISING, passing).wanted - ahead(STEADY, passing).wanted
    assert gain == pytest.approx(0.25 * grown(RISING)), "rates that pass are no growth"


@settings(max_examples=500, deadline=None)
@given(
    data=st.data(),
    usual=st.builds(
        returning, st.sampled_from([0.0, 0.3, 0.9, 1.0]), st.sampled_from([0.0, 0.5, 1.0])
    ),
    wait=st.sampled_from([0.0, 0.3, 1.0, 4.0, 10.0, 50.0]),
    high=st.sampled_from([1, 10, 40, 1000]),
    lag_s=st.sampled_from([1.0, 15.0, 60.0, 600.0]),
)
def test_one_more_job_never_wants_fewer_however_it_grows(
    data: st.DataObject, usual: Usual, wait: float, high: int, lag_s: float
) -> None:
    waiting, busy = data.draw(st.integers(0, 60)), data.draw(st.integers(0, 60))
    recent = data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0, 20.0]))
    rate = data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0, 20.0]))
    spread = data.draw(st.sampled_from([1.0, 3.0, 30.0]))
    mean = data.draw(st.sampled_from([5.0, 60.0, 600.0]))
    there = look(
        waiting, busy, recent=known(recent), rate=known(rate), spread=spread, mean=known(mean)
    )
    now = ahead(there, usual, wait=wait, high=high, lag_s=lag_s)
    for more in (
        replace(there, waiting=known(waiting + 1)),
        replace(there, in_flight=known(busy + 1)),
    ):
        then = ahead(more, usual, wait=wait, high=high, lag_s=lag_s)
        assert then.wanted >= now.wanted - 1e-9
        assert then.lasting >= now.lasting - 1e-9


# The signal


def test_a_record_of_before_it_was_asked_for_has_it_unknown() -> None:
    content = RISING.to_json()
    assert Observation.from_json(content) == RISING
    del content["inputs"]["recent_rate"]
    older = Observation.from_json(content)
    assert isinstance(older.recent_rate, Unknown)
    assert replace(older, recent_rate=RISING.recent_rate) == RISING


def test_a_rate_that_cannot_be_is_none() -> None:
    assert isinstance(believed(replace(RISING, recent_rate=known(-1.0))).recent_rate, Unknown)
    assert isinstance(
        believed(replace(RISING, recent_rate=known(float("inf")))).recent_rate, Unknown
    )
