"""The always-on pool, and C₀: what a clairvoyant pays that never adds waiting."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from scaler.simulate.trace import Floats, Trace


@dataclass(frozen=True, slots=True)
class AlwaysOn:
    """A FIFO pool of the maximum that is never scaled."""

    starts: Floats
    """When each job starts."""
    ends: Floats
    horizon_s: float
    """When the last one ends."""

    @property
    def mean_load(self) -> float:
        """Workers that are busy on average."""
        return float((self.ends - self.starts).sum()) / self.horizon_s


def always_on(trace: Trace, workers: int) -> AlwaysOn:
    """Serve `trace` first come first served by that many workers that are always there."""
    arrivals, durations = trace.arrivals.tolist(), trace.durations.tolist()
    free: list[float] = []
    starts: list[float] = []
    for arrival, duration in zip(arrivals, durations, strict=True):
        start = arrival
        if len(free) < workers:
            heapq.heappush(free, start + duration)
        else:
            start = max(arrival, free[0])
            heapq.heapreplace(free, start + duration)
        starts.append(start)
    begun = np.array(starts)
    ends = begun + trace.durations
    return AlwaysOn(begun, ends, float(ends.max()))


def clairvoyant_cost(pool: AlwaysOn, minimum: int, startup_s: float) -> float:
    """C₀ in worker-seconds:

        min·T + Σ_{k>min} [ ∫ 1{N(t) ≥ k} dt + S + Σ_gaps min(gap, S) ]

    N(t) is the busy count of the pool. Each level k above the minimum is a worker that is
    started once (S) and, in every gap of its work, either kept or stopped and started again,
    whichever is cheaper: levels nest, so choosing for each level alone is the optimum.
    """
    times = np.concatenate((pool.ends, pool.starts))
    steps = np.concatenate((np.full(len(pool.ends), -1), np.full(len(pool.starts), 1)))
    # A worker that ends one job and begins the next at the same instant was busy all the time.
    order = np.lexsort((steps, times))
    total = minimum * pool.horizon_s
    busy = 0
    left_at: dict[int, float] = {}
    entered_at: dict[int, float] = {}
    for at, step in zip(times[order].tolist(), steps[order].tolist(), strict=True):
        if step > 0:
            busy += 1
            if busy > minimum:
                gap = at - left_at[busy] if busy in left_at else startup_s
                total += min(gap, startup_s)
                entered_at[busy] = at
        else:
            if busy > minimum:
                total += at - entered_at[busy]
                left_at[busy] = at
            busy -= 1
    return total
