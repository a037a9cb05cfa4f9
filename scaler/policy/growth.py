"""What grows: in a ramp more jobs arrive within a horizon than end in it, and whoever asks only
what there is to do now is late by a start-up."""

from __future__ import annotations

from math import sqrt

from scaler.policy.observation import Known, Observation
from scaler.policy.staffing import Lasting
from scaler.policy.target import Weights

_MINUTE_S = 60.0
# So many standard deviations are left to chance.
_CHANCE = 0.5


def growth(
    observation: Observation, busy: float, spread: float, there: Lasting, weights: Weights
) -> float:
    """Workers for what arrives within the horizon beyond what ends, if it goes on as in the last
    minute; `busy` jobs are in progress.

    Of what arrived in that minute no more counts than came in the four before it: one burst is no
    growth, and the dispersion knows of it only when the minute is over. By chance that number
    differs, and so does what arrives in E = E[min(d, h)]: together by sqrt(IDC·λ·E·(1 + E/60 s)).
    Of the jobs that end relief counts on 1/(1 + w), so growth takes the other share: none of them
    is counted twice. 0 while a rate or the mean duration is unknown.
    """
    recent, rate = observation.recent_rate, observation.arrival_rate
    if there.stays >= 1.0 or not (isinstance(recent, Known) and isinstance(rate, Known)):
        return 0.0
    before = 5.0 * rate.value - recent.value
    arriving = min(recent.value, before) * there.present_s
    more = arriving - busy * (1.0 - there.stays)
    if more <= 0.0:
        return 0.0
    more -= _CHANCE * sqrt(spread * arriving * (1.0 + there.present_s / _MINUTE_S))
    return max(0.0, more) * (1.0 - weights.relief)
