"""What a run was worth: cost beside the clairvoyant's, waiting in excess of the always-on pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from scaler.simulate.clairvoyant import AlwaysOn
from scaler.simulate.trace import Trace
from scaler.simulate.world import World

WEIGHTS = (1, 4, 10)
"""What a job-second of waiting is worth in worker-seconds, in J = paid + w·Σ wait."""


@dataclass(frozen=True, slots=True)
class Score:
    """One run in numbers."""

    jobs: int
    paid_s: float
    """Worker-seconds, start-up and drain included."""
    c0_s: float
    paid_c0: float
    wait_mean_s: float
    """Waits are to the start of the attempt that succeeded, in excess of the always-on pool."""
    wait_p50_s: float
    wait_p95_s: float
    wait_p99_s: float
    started_1s: float
    started_30s: float
    j1_c0: float
    j4_c0: float
    j10_c0: float
    killed: int
    """Jobs interrupted by scaling."""
    lost: int
    """Workers that died by themselves."""
    wasted_s: float
    """Work thrown away by either."""
    actions_per_hour: float
    turns_per_hour: float
    """Actions that go the other way than the one before."""
    horizon_s: float

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def cost(self, weight: float) -> float:
        """J(w)/C₀."""
        return self.paid_c0 + weight * self.wait_mean_s * self.jobs / self.c0_s


def score(trace: Trace, pool: AlwaysOn, c0_s: float, world: World, moves: Sequence[int]) -> Score:
    """The score of a world that has finished."""
    waits = np.array(world.starts) - pool.starts
    total = float(waits.sum())
    hours = max(world.now, 1.0) / 3600
    turns = sum((a > 0) != (b > 0) for a, b in pairwise(moves))
    p50, p95, p99 = (float(value) for value in np.percentile(waits, (50, 95, 99)))
    j1, j4, j10 = ((world.paid_s + weight * total) / c0_s for weight in WEIGHTS)
    return Score(
        jobs=len(trace),
        paid_s=world.paid_s,
        c0_s=c0_s,
        paid_c0=world.paid_s / c0_s,
        wait_mean_s=total / len(trace),
        wait_p50_s=p50,
        wait_p95_s=p95,
        wait_p99_s=p99,
        started_1s=float((waits <= 1.0).mean()),
        started_30s=float((waits <= 30.0).mean()),
        j1_c0=j1,
        j4_c0=j4,
        j10_c0=j10,
        killed=world.killed,
        lost=world.lost,
        wasted_s=world.wasted_s,
        actions_per_hour=len(moves) / hours,
        turns_per_hour=turns / hours,
        horizon_s=world.now,
    )
