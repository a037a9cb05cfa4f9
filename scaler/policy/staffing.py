"""The formulas of the policy: how many workers a load needs, and how long one is kept idle.

docs/policy.md has the reasoning and the evidence.
"""

from __future__ import annotations

from math import e, exp, sqrt
from typing import NamedTuple

from scaler.policy.observation import Known, Observation
from scaler.policy.target import Target, Weights

LOOK_BACK_S = 600.0
"""Arrivals are judged by their last ten minutes."""
LONGEST_STARTUP_S = 3600.0
"""What is measured to take longer says nothing of how long a worker is waited for."""
_BURSTINESS = (1.0, 30.0)


def startup_of(observation: Observation, target: Target) -> float:
    """S: the measured start-up in seconds, or the target's assumption until there is one."""
    signal = observation.startup
    if not isinstance(signal, Known):
        return target.startup_seconds
    return min(max(signal.value, 0.0), LONGEST_STARTUP_S)


def keep_idle_for(horizon_s: float) -> float:
    """τ: seconds of idling after which a worker is let go.

    Stopping one and having it again costs the horizon h: start-up, tick and age of the data.
    Not knowing the future, one does best to idle for a random time of mean h/(e−1) = 0.58·h
    (Karlin, Manasse, McGeoch and Owicki, "Competitive randomized algorithms for non-uniform
    problems"). The mean serves as well here, as replays of real traces show; docs/policy.md.
    """
    return horizon_s / (e - 1.0)


def keep_capped_for(target: Target, horizon_s: float) -> float:
    """Seconds for which the maximum is kept that demand keeps exceeding: (1 + w)·h, to 10 min.

    What the maximum cuts off can't be bought later, so the next burst waits for each worker
    that has to be started anew: a restart costs h paid and w·h waited. Once exceeded says
    nothing of a next burst; again within the time that arrivals are looked back at does.
    """
    return min((1.0 + target.weights.wait) * horizon_s, LOOK_BACK_S)


class Lasting(NamedTuple):
    """How long jobs are there, of a horizon."""

    stays: float
    """The probability with which one in progress is still there at its end."""
    present_s: float
    """Seconds of it for which one that arrives is there: E[min(d, h)]."""


def lasting(observation: Observation, horizon_s: float) -> Lasting:
    """Durations taken as exponential with the measured mean, and as endless while there is none."""
    mean = observation.mean_duration
    if not isinstance(mean, Known) or mean.value <= 0:
        return Lasting(1.0, horizon_s)
    stays = exp(-horizon_s / mean.value)
    return Lasting(stays, mean.value * (1.0 - stays))


def dispersion(observation: Observation) -> float:
    """IDC: the variance of the number of arrivals over its mean, 1 to 30; 1 while unknown."""
    low, high = _BURSTINESS
    spread = observation.burstiness
    if not isinstance(spread, Known) or spread.value <= low:
        return low
    return min(spread.value, high)


def headroom(observation: Observation, target: Target, there: Lasting) -> float:
    """Workers for what arrives within the horizon beyond the mean: z·sqrt(IDC·λ·E[min(d, h)]).

    Square-root staffing, widened by the burstiness. 0 while the rate is unknown.
    """
    rate = observation.arrival_rate
    if not isinstance(rate, Known):
        return 0.0
    return square_root(target.weights, dispersion(observation), rate.value, there)


def square_root(weights: Weights, spread: float, rate: float, there: Lasting) -> float:
    """The same of a given dispersion and rate."""
    return weights.headroom * sqrt(spread * rate * there.present_s)


def relief(weights: Weights, busy: float, there: Lasting) -> float:
    """Workers saved: a share of the jobs that end before a new worker could take one.

    The dearer waiting is, the smaller the share: 1/(1 + w).
    """
    return weights.relief * busy * (1.0 - there.stays)
