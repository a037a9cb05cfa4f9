"""What demand there will be when a worker that is started now is ready, and how many that wants.

A departure from what is usual is counted on as far as it has lasted before: the linear prediction
of least error. On top of it come the newsvendor's quantiles: of what arrives meanwhile, and of what
the prediction leaves open. docs/policy.md derives both.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

from scaler.policy.covering import covering
from scaler.policy.growth import growth
from scaler.policy.observation import Observation
from scaler.policy.staffing import Lasting, dispersion, lasting, relief, square_root
from scaler.policy.target import Target, Weights
from scaler.policy.usual import Load, Usual

# What persists by more than this is taken to last: no estimate over an hour tells it from 1.
_LASTS = 0.83
# One burst is no series.
_LEAST_RETURNS = 2.0
# The most that the distribution of demand is taken to be skewed by.
_MOST_SKEW = 1.0
# Beyond this quantile the expansion is none any more: fewer would be wanted for more demand.
_FURTHEST = 3.0
# So many expected arrivals count half as whole jobs.
_FEW_ARRIVALS = 0.5
# What is left of that below this part is not worth the asking.
_HARDLY_ANY = 0.01
# From so many expected arrivals on the normal distribution does, and it costs less to ask it.
_MANY_ARRIVALS = 40.0


class Prospect(NamedTuple):
    """One horizon ahead; workers and jobs before they are rounded."""

    wanted: float
    """Workers."""
    lasting: float
    """Workers if all of the present demand were to last: what the maximum is measured by."""
    usual: float | None = None
    """Demand in the mean of the last hour; None where it has not come back often enough to tell."""
    expected: float = 0.0
    """That, and as much of the departure from it as is counted on."""


def prospect(
    observation: Observation,
    load: Load,
    usual: Usual,
    target: Target,
    *,
    high: int,
    horizon_s: float,
) -> Prospect:
    """What a horizon ahead wants, `high` workers being the most; by `usual` as it was before the
    present `load`, so that more of that never wants fewer workers."""
    weights, there, moments = target.weights, lasting(observation, horizon_s), usual.demand
    demand, rate = load.demand, load.rate
    # The nearer the maximum, the sooner somebody waits for whoever ends a job.
    spare = 1.0 - demand / high if demand < high else 0.0
    saved = spare * relief(weights, load.busy, there)
    spread = dispersion(observation)
    # ρ² is the share of rates' variance that lasts.
    lasts = usual.rate.persistence * usual.rate.persistence
    grown = lasts * growth(observation, load.busy, spread, there, weights)
    normal = 0.0 if rate is None else square_root(weights, spread, rate, there)
    unshrunk = demand + normal - (saved - grown)
    if moments.returns < _LEAST_RETURNS:
        return Prospect(unshrunk, unshrunk)
    part = min(1.0, moments.persistence / _LASTS)
    # Who ends is part of why demand goes back: the less of it lasts, the less is saved besides.
    saved = part * saved - grown
    net = by_root = normal - saved
    few, measured = 0.0, unshrunk
    if rate is not None and weights.headroom > 0.0:
        arriving = _arriving(rate, usual, there)
        few = 1.0 - part * part * _several(arriving)
        if few > _HARDLY_ANY:
            by_jobs = _by_jobs(arriving, spread, load, there, weights, saved=saved)
            measured = max(unshrunk, demand + by_jobs)
            net += few * (by_jobs - by_root)
            if net < by_root:
                net += (1.0 - spare) * (by_root - net)
    if part >= 1.0:
        # Where nothing of it applies it is the same to the last digit.
        wanted = demand + net if few > _HARDLY_ANY else unshrunk
        return Prospect(wanted, measured, moments.mean, demand)
    expected = moments.mean + part * (demand - moments.mean)
    wanted = expected + part * net
    variance = moments.variance * (1.0 - moments.persistence * moments.persistence)
    wanted += (1.0 - part) * _residual(weights.headroom, wanted, variance)
    return Prospect(wanted, measured, moments.mean, expected)


def _arriving(rate: float, usual: Usual, there: Lasting) -> float:
    """Jobs that arrive within a horizon and are still there at its end: by the present `rate`, of
    which as much is counted on as has lasted before."""
    if not usual.rate.weight:
        return rate * there.present_s
    unusual = usual.rate.persistence * (rate - usual.rate.mean)
    if there.stays < 1.0:
        # Little's law: the larger of two measured rates is more than the mean of either.
        usually = usual.busy.value * (1.0 - there.stays)
    else:
        usually = usual.rate.mean * there.present_s
    return max(0.0, usually + unusual * there.present_s)


def _several(arriving: float) -> float:
    """How far these are too many to ask for whole jobs, 0 to 1: they come in clusters, of which
    their distribution within one horizon knows little, and the square root leaves more room."""
    few = arriving / _FEW_ARRIVALS
    # No power: that overflows where a product is infinite.
    return 1.0 - 1.0 / (1.0 + few * few * few)


def _by_jobs(
    arriving: float, spread: float, load: Load, there: Lasting, weights: Weights, *, saved: float
) -> float:
    """Workers beyond demand for what arrives, less those `saved` by what ends: whole jobs, while
    they are few. Never fewer for one more that is in progress than for one more that waits."""
    if arriving >= _MANY_ARRIVALS:
        return weights.headroom * sqrt(spread * arriving) - saved
    alone, beside = covering(int(load.busy), there.stays, arriving, spread, weights.covered)
    return max(-saved, min(alone - arriving - saved, beside - load.busy))


def _residual(z: float, expected: float, variance: float) -> float:
    """The quantile of what the prediction leaves open, less its mean: the first terms of Cornish
    and Fisher, with the skewness of a gamma distribution. The sum of both grows with the mean."""
    if variance <= 0.0 or expected <= 0.0:
        return 0.0
    deviation = sqrt(variance)
    skewness = min(2.0 * deviation / expected, _MOST_SKEW)
    bent = min(z, _FURTHEST)
    return max(-expected, deviation * (z + skewness * (bent * bent - 1.0) / 6.0))
