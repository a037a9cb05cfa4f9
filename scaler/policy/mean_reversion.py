"""What a number goes back to: its mean over the last hour, and how much of a departure from that
is left one lag later.

Mean, variance and autocovariance are weighted by exp(−age/hour) and by the time for which each
value held, so that neither the tick nor a stretch in which nothing was known changes what they are
of. The linear prediction of least error is μ + ρ·(x − μ), ρ the autocorrelation at the lag.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp
from typing import NamedTuple

HOUR_S = 3600.0
"""What is older than this weighs 1/e of the present, or less."""
MOST_KEPT = 64
"""More values of the past than moments ever hold."""
# So many values a lag are looked at, or one in so many seconds.
_SAMPLES, _LONGEST_S = 16, 20.0
# What has stayed above or below the mean for so many times as long as from one burst to the next in
# the mean does not come back as it did.
_STAYS, _MISSED = 2.0, 6.0
# Values that lie further apart do not tell what was between them.
_GAP_S = 60.0

Points = tuple[tuple[float, float], ...]


class Mean(NamedTuple):
    """Of one number over time, weighted as `Moments` are."""

    at: float = 0.0
    """Epoch seconds of the latest value in it."""
    weight: float = 0.0
    """Seconds of weight behind it."""
    value: float = 0.0

    def add(self, value: float, now: float) -> Mean:
        """With the `value` at `now` (epoch seconds)."""
        held_s = now - self.at
        if not 0.0 < held_s <= _GAP_S:
            return Mean(now, self.weight * _faded(held_s), self.value)
        weight = self.weight * exp(-held_s / HOUR_S) + held_s
        return Mean(now, weight, self.value + held_s / weight * (value - self.value))

    def at_times(self, moved: Callable[[float], float]) -> Mean:
        """With its time put to what `moved` makes of it."""
        return self._replace(at=moved(self.at)) if self.at else self


class Moments(NamedTuple):
    """Of one number over time; nothing is known of it at first."""

    at: float = 0.0
    """Epoch seconds of the latest value that was looked at."""
    weight: float = 0.0
    """Seconds of weight behind the mean."""
    mean: float = 0.0
    pairs: float = 0.0
    """The same behind variance and covariance, for which a value of a lag before is needed."""
    variance: float = 0.0
    covariance: float = 0.0
    """With itself a lag before."""
    returns: float = 0.0
    """How often it has risen through its mean, weighted as the rest."""
    above: bool = False
    """Whether it is above its mean."""
    turned_at: float = 0.0
    """Epoch seconds since which it is so."""
    patience_s: float = 0.0
    """For so long from then on it may be one of those times."""
    persistence: float = 1.0
    """ρ: which part of a departure from the mean is expected to be left one lag later, 0 to 1."""
    past: Points = ()
    """(epoch seconds, value) back to a lag before, oldest first."""

    def add(self, value: float, now: float, lag_s: float, prior: float) -> Moments:
        """With the `value` at `now` (epoch seconds), unless one shortly before is in it.

        As long as little is known a departure is expected to be left: `prior` lags in which
        nothing went back count in.
        """
        held_s = now - self.at
        if 0.0 <= held_s < min(lag_s / _SAMPLES, _LONGEST_S):
            return self
        if not 0.0 <= held_s <= _GAP_S or not self.past:
            return self._after_a_gap(value, now)
        decay = exp(-held_s / HOUR_S)
        past, before = _from(self.past, now - lag_s)
        weight = self.weight * decay + held_s
        off = value - self.mean
        mean = self.mean + held_s / weight * off
        pairs = self.pairs * decay
        variance, covariance, left = self.variance, self.covariance, self.persistence
        if before is not None:
            pairs += held_s
            share = held_s / pairs
            variance += share * (off * (value - mean) - variance)
            covariance += share * (off * (before - mean) - covariance)
            if variance > 0.0:
                seen = pairs / lag_s
                left = (min(1.0, max(0.0, covariance / variance)) * seen + prior) / (seen + prior)
        above = value > mean
        returns, turned_at, patience_s = self.returns * decay, self.turned_at, self.patience_s
        if above != self.above:
            returns, turned_at = returns + above, now
            if returns > 0.0:
                patience_s = (_STAYS if above else _MISSED) * weight / returns
        elif now - turned_at > patience_s:
            returns = 0.0
        if now - past[-1][0] >= lag_s / _SAMPLES:
            past = (*past, (now, value))
        return Moments(
            *(now, weight, mean, pairs, variance, covariance),
            *(returns, above, turned_at, patience_s, left, past),
        )

    def at_times(self, moved: Callable[[float], float]) -> Moments:
        """With every time in it put to what `moved` makes of it."""
        if not self.past:
            return self
        past = tuple((moved(at), value) for at, value in self.past)
        return self._replace(at=moved(self.at), turned_at=moved(self.turned_at), past=past)

    def _after_a_gap(self, value: float, now: float) -> Moments:
        """What is not known teaches nothing, and what lies before it fades."""
        left = _faded(now - self.at)
        return self._replace(
            at=now,
            turned_at=self.turned_at + max(0.0, now - self.at),
            weight=self.weight * left,
            pairs=self.pairs * left,
            returns=self.returns * left,
            past=((now, value),),
        )


def _faded(since_s: float) -> float:
    return exp(-min(max(0.0, since_s), 10.0 * HOUR_S) / HOUR_S)


def _from(past: Points, then: float) -> tuple[Points, float | None]:
    """The part of the `past` that tells what was from `then` on, and the value that held then;
    None where that is not known."""
    first, last = 0, len(past) - 1
    while first < last and past[first + 1][0] <= then:
        first += 1
    before = past[first][1] if past[first][0] <= then else None
    return past[first:] if first else past, before
