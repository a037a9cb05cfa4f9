"""C₀ against an exhaustive search over all fleets, and the always-on pool."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.simulate.clairvoyant import always_on, clairvoyant_cost
from scaler.simulate.trace import Trace

JOBS = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)), min_size=1, max_size=7)


def trace_of(jobs: list[tuple[int, int]]) -> Trace:
    ordered = sorted(jobs)
    begin = ordered[0][0]
    return Trace(
        "small",
        np.array([float(arrival - begin) for arrival, _ in ordered]),
        np.array([float(duration) for _, duration in ordered]),
    )


def cheapest_fleet(trace: Trace, workers: int, minimum: int, startup: int) -> float:
    """The least that any sequence of fleet sizes costs that never makes a job wait longer.

    Times are whole numbers, so a fleet need change only then. Every size at every time is
    tried (by dynamic programming), which knows nothing of levels and gaps.
    """
    pool = always_on(trace, workers)
    horizon = int(pool.horizon_s)
    busy = [
        sum(1 for a, b in zip(pool.starts, pool.ends, strict=True) if a <= t < b)
        for t in range(horizon)
    ]
    sizes = range(minimum, max(*busy, minimum) + 1)
    costs = {size: float(startup * (size - minimum)) for size in sizes}
    for needed in busy:
        costs = {size: cost + size for size, cost in costs.items() if size >= needed}
        costs = {
            size: min(cost + startup * max(0, size - before) for before, cost in costs.items())
            for size in sizes
        }
    return min(costs.values())


@settings(max_examples=300, deadline=None)
@given(JOBS, st.integers(1, 5), st.integers(0, 3), st.integers(1, 8))
def test_the_bound_is_what_an_exhaustive_search_finds(
    jobs: list[tuple[int, int]], workers: int, minimum: int, startup: int
) -> None:
    trace = trace_of(jobs)
    minimum = min(minimum, workers)
    found = clairvoyant_cost(always_on(trace, workers), minimum, float(startup))
    assert found == pytest.approx(cheapest_fleet(trace, workers, minimum, startup))


@given(JOBS, st.integers(1, 5))
def test_the_pool_serves_in_order_and_never_more_than_it_has(
    jobs: list[tuple[int, int]], workers: int
) -> None:
    trace = trace_of(jobs)
    pool = always_on(trace, workers)
    assert all(a <= b for a, b in pairwise(pool.starts))
    assert np.all(pool.starts >= trace.arrivals)
    for at in pool.starts:
        assert int(np.sum((pool.starts <= at) & (at < pool.ends))) <= workers


def test_a_gap_costs_the_cheaper_of_idling_and_starting_again() -> None:
    near = Trace("near", np.array([0.0, 14.0]), np.array([10.0, 10.0]))
    far = Trace("far", np.array([0.0, 90.0]), np.array([10.0, 10.0]))
    assert clairvoyant_cost(always_on(near, 5), 0, 10.0) == 20 + 10 + 4
    assert clairvoyant_cost(always_on(far, 5), 0, 10.0) == 20 + 10 + 10
