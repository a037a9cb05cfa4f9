"""A floor from the same hour of yesterday and of last week, kept only while it earns its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

HOUR_S = 3600
DAY = 24
WEEK = 7 * DAY
# A forecast must have been better over this many hours, and be seen for at least so many.
JUDGED_HOURS = 48
LEAST_JUDGED = 24
KEPT_HOURS = WEEK + JUDGED_HOURS
"""How many finished hours a forecast and its back-test look at."""


class Hours(NamedTuple):
    """Mean demand per hour since the epoch: the finished ones and the present one."""

    last: int = 0
    """Index (epoch seconds // 3600) of the newest finished hour."""
    means: tuple[float | None, ...] = ()
    """Oldest first, ending with `last`; None where nothing was known."""
    sum: float = 0.0
    samples: int = 0
    """Of the present hour, `last + 1`."""

    def add(self, now: float, demand: float) -> Hours:
        """With one more sample of demand."""
        hour = int(now // HOUR_S)
        if self.samples == 0 and not self.means:
            return Hours(hour - 1, (), demand, 1)
        if self.last <= hour <= self.last + 1:
            return Hours(self.last, self.means, self.sum + demand, self.samples + 1)
        if hour < self.last:
            # The clock was put back by more than an hour: those hours have not ended yet.
            return Hours(hour - 1, self.means[: hour - 1 - self.last], demand, 1)
        mean = self.sum / self.samples if self.samples else None
        missed = min(hour - self.last - 2, WEEK)
        means = (*self.means, mean, *([None] * missed))
        return Hours(hour - 1, means[-KEPT_HOURS:], demand, 1)

    def mean(self, hour: int) -> float | None:
        """Mean demand of a finished hour, None when it is not known."""
        at = hour - self.last - 1 + len(self.means)
        return self.means[at] if 0 <= at < len(self.means) else None

    def refilled(self, recorded: Mapping[int, float], present: int) -> Hours:
        """These at the hour `present`, with the finished ones as `recorded` where they are."""
        means = [
            recorded.get(hour, self.mean(hour)) for hour in range(present - KEPT_HOURS, present)
        ]
        first = next((at for at, mean in enumerate(means) if mean is not None), len(means))
        known = tuple(means[first:])
        if self.last + 1 != present:
            return Hours(present - 1, known)
        return Hours(present - 1, known, self.sum, self.samples)


NO_HOURS = Hours()
"""Nothing is known yet."""


class Forecast(NamedTuple):
    """What is expected of the hour that `hour` names, and whether to believe it."""

    hour: int
    expected: float | None
    """Mean demand, in workers."""
    error: float | None
    """Mean absolute error over the judged hours, in workers."""
    naive_error: float | None
    """The same of "as in the hour before"."""

    @property
    def trusted(self) -> bool:
        """Whether it has beaten the naive forecast."""
        if self.expected is None or self.error is None or self.naive_error is None:
            return False
        return self.error < self.naive_error


def expect(hours: Hours, hour: int) -> float | None:
    """Mean of the same hour yesterday and last week, of those that are known."""
    known = [m for m in (hours.mean(hour - DAY), hours.mean(hour - WEEK)) if m is not None]
    return sum(known) / len(known) if known else None


def forecast(hours: Hours, hour: int) -> Forecast:
    """The forecast for `hour`, back-tested over the latest finished hours."""
    misses: list[float] = []
    naive: list[float] = []
    for past in range(hours.last - JUDGED_HOURS + 1, hours.last + 1):
        actual, before, expected = hours.mean(past), hours.mean(past - 1), expect(hours, past)
        if actual is None or before is None or expected is None:
            continue
        misses.append(abs(expected - actual))
        naive.append(abs(before - actual))
    if len(misses) < LEAST_JUDGED:
        return Forecast(hour, expect(hours, hour), None, None)
    return Forecast(hour, expect(hours, hour), sum(misses) / len(misses), sum(naive) / len(naive))
