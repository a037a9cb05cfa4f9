"""What is usual of a target: the moments of its demand and of its arrivals over the last hour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from scaler.policy.mean_reversion import Mean, Moments

ARRIVALS_LAG_S = 450.0
"""Rates over five and ten minutes, whichever is higher, have hardly an arrival in common once they
lie so far apart."""

# Lags in which nothing went back that a prediction begins with.
_PRIOR = 2.0
# More than any fleet could ever do, and little enough to be reckoned with.
_MOST_JOBS = 1e9


class Load(NamedTuple):
    """What there is to do at one moment."""

    demand: float
    """Jobs waiting and in progress."""
    busy: float
    """Jobs in progress."""
    rate: float | None
    """Arrivals a second; None while that is not known."""

    @classmethod
    def of(cls, waiting: float, in_flight: float, rate: float | None) -> Load:
        """Of these jobs, as many as can be reckoned with."""
        demand = waiting + in_flight
        if demand > _MOST_JOBS:
            return cls(_MOST_JOBS, min(in_flight, _MOST_JOBS), rate)
        return cls(demand, in_flight, rate)


class Usual(NamedTuple):
    """Moments of the load."""

    demand: Moments = Moments()
    """Of jobs waiting and in progress, one horizon apart."""
    rate: Moments = Moments()
    """Of the arrival rate, so far apart that no arrival is in both, and a horizon."""
    busy: Mean = Mean()
    """Of jobs in progress."""

    def seen(self, load: Load, now: float, horizon_s: float) -> Usual:
        """With the `load` at `now` (epoch seconds)."""
        demand = self.demand.add(load.demand, now, horizon_s, _PRIOR)
        if demand is self.demand:
            return self
        rate = self.rate
        if load.rate is not None:
            rate = rate.add(load.rate, now, ARRIVALS_LAG_S + horizon_s, _PRIOR)
        return Usual(demand, rate, self.busy.add(load.busy, now))

    def at_times(self, moved: Callable[[float], float]) -> Usual:
        """With every time in it put to what `moved` makes of it."""
        return Usual(
            self.demand.at_times(moved), self.rate.at_times(moved), self.busy.at_times(moved)
        )

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "demand": self.demand._asdict(),
            "rate": self.rate._asdict(),
            "busy": self.busy._asdict(),
        }


NOTHING = Usual()
"""Nothing is known yet."""
