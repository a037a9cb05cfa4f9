"""How many workers cover the jobs that there will be, with a given probability.

The newsvendor's answer on whole jobs: the least number that they exceed no more often than a worker
too many is worth. Of those in progress each is still there with a probability of its own; those
that arrive until then are negative binomial, Poisson where their dispersion is 1.
"""

from __future__ import annotations

from functools import lru_cache
from math import comb, exp, inf, log
from typing import NamedTuple

MANY_BUSY = 8
"""Of so many in progress and more it hardly matters that they are whole jobs."""


# Within one of these steps numbers are taken for the same, and a mean below the least for that.
_STEPS, _LEAST = 50.0, 0.001


class Covering(NamedTuple):
    """Whole workers."""

    arrivals: int
    """That cover those that arrive."""
    beside: float
    """That cover these and those in progress together; infinite where these are many."""


def covering(busy: int, stays: float, mean: float, dispersion: float, share: float) -> Covering:
    """What covers the jobs that there will be with a probability of `share`, below 1: of `busy` in
    progress each `stays` with that probability; those that arrive have the `mean` and a variance
    of `dispersion` times that, 1 or more. Numbers count to two parts in a hundred, so that the
    answer is mostly known already."""
    return _covering(
        min(busy, MANY_BUSY + 1),
        int(_STEPS * stays + 0.5),
        int(_STEPS * log(mean / _LEAST) + 0.5) if mean > _LEAST else 0,
        int(_STEPS * log(dispersion) + 0.5),
        share,
    )


@lru_cache(maxsize=16_384)
def _covering(busy: int, stays: int, mean: int, dispersion: int, share: float) -> Covering:
    arriving = _LEAST * exp(mean / _STEPS)
    spread = exp(dispersion / _STEPS)
    return Covering(
        least_covering(0, 0.0, arriving, spread, share),
        inf if busy > MANY_BUSY else least_covering(busy, stays / _STEPS, arriving, spread, share),
    )


def least_covering(busy: int, stays: float, mean: float, dispersion: float, share: float) -> int:
    """The least n with P(B + X ≤ n) ≥ `share`, B binomial and X negative binomial."""
    spread = max(0.0, dispersion - 1.0)
    left = [
        comb(busy, kept) * stays**kept * (1.0 - stays) ** (busy - kept) for kept in range(busy + 1)
    ]
    chance = exp(-mean / spread * log(1.0 + spread)) if spread else exp(-mean)
    below = [chance]
    number = 0
    while True:
        kept = min(number, busy)
        if sum(left[each] * below[number - each] for each in range(kept + 1)) >= share:
            return number
        number += 1
        chance *= (mean + (number - 1) * spread) / (number * (1.0 + spread))
        below.append(below[-1] + chance)
