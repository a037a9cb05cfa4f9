"""The split over pools, and how long one is waited for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.policy.observation import Fleet
from scaler.policy.pools import Patience, Place, split, waited

FULL = Place(running=4, most=4)
SOME = Place(running=1, most=5)
STUCK = Place(running=4, most=6, lost=3, open=False)


@pytest.mark.parametrize(
    ("wanted", "pools", "shares"),
    [
        (3, [Place(0, 4), Place(0, 9)], [3, 0]),
        (6, [Place(0, 4), Place(0, 9)], [4, 2]),
        (20, [Place(0, 4), Place(0, 9)], [4, 9]),
        (8, [FULL, SOME], [4, 4]),
        (2, [FULL, SOME], [4, 1]),
        (6, [STUCK, SOME], [4, 5]),
        (6, [replace(SOME, open=False), SOME], [1, 5]),
        (4, [Place(2, 4, leaving=2), Place(0, 9)], [2, 2]),
    ],
)
def test_the_cheapest_is_filled_first(wanted: int, pools: list[Place], shares: list[int]) -> None:
    assert split(wanted, pools) == shares


@st.composite
def places(draw: st.DrawFn) -> Place:
    running = draw(st.integers(0, 30))
    return Place(
        running=running,
        most=draw(st.integers(1, 30)),
        lost=draw(st.integers(0, running)),
        leaving=draw(st.integers(0, 5)),
        open=draw(st.booleans()),
    )


@given(wanted=st.integers(0, 200), pools=st.lists(places(), min_size=1, max_size=6))
def test_no_pool_above_its_maximum_the_sum_right_and_nobody_stopped(
    wanted: int, pools: list[Place]
) -> None:
    shares = split(wanted, pools)
    more = [share - pool.running for share, pool in zip(shares, pools, strict=True)]
    counted = sum(pool.counted for pool in pools)
    room = sum(pool.room for pool in pools)
    assert all(each >= 0 for each in more)
    for pool, share, added in zip(pools, shares, more, strict=True):
        assert not added or (pool.open and share + pool.leaving <= pool.most)
    assert counted + sum(more) == max(counted, min(wanted, counted + room))
    for place, added in enumerate(more):
        if added:
            assert more[:place] == [pool.room for pool in pools[:place]], "a cheaper one has room"


def looks(*fleets: Fleet, step_s: float = 10.0, wait_s: float = 60.0) -> Patience:
    patience: Patience | None = None
    for number, fleet in enumerate(fleets):
        patience = waited(patience, fleet, wait_s, number * step_s)
    assert patience is not None
    return patience


def fleet(placed: int, pending: int = 0, obstacle: str | None = None) -> Fleet:
    return Fleet(placed + pending, placed + pending, pending=pending, obstacle=obstacle)


def test_it_is_waited_for_as_long_as_is_stated() -> None:
    assert not looks(fleet(0), *[fleet(2, 2)] * 6).given_up
    patience = looks(fleet(0), *[fleet(2, 2)] * 7)
    assert patience.given_up
    assert patience.counted == 2


def test_a_pool_that_keeps_placing_workers_is_waited_for() -> None:
    ramp = [fleet(placed, 3) for placed in range(30)]
    assert not looks(*ramp).given_up


def test_one_that_has_found_places_for_all_is_counted_on_again() -> None:
    stuck = [fleet(2, 2)] * 8
    assert looks(*stuck, fleet(3, 1)).given_up
    assert not looks(*stuck, fleet(4)).given_up


def test_who_has_just_found_a_place_counts_once_it_has_kept_it() -> None:
    stuck = [fleet(2, 2)] * 8
    assert looks(*stuck, fleet(3, 1)).counted == 2
    assert looks(*stuck, *[fleet(3, 1)] * 7).counted == 3


def test_a_crash_loop_is_given_up_on_and_counts_for_nothing() -> None:
    loop = [fleet(0), *[fleet(1, obstacle="failed"), fleet(0, 1, obstacle="failed")] * 5]
    patience = looks(*loop, fleet(1, obstacle="failed"))
    assert patience.given_up
    assert patience.counted == 0


def test_what_is_found_in_the_way_at_the_start_has_been_there_for_long() -> None:
    for now in (0.0, 0.1, 12345.678, 1e9 / 3):
        assert waited(None, fleet(2, 2, obstacle="no suitable node"), 60.1, now).given_up
    assert not looks(fleet(2, 2)).given_up
