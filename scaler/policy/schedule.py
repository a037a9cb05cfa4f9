"""Which cron windows are open, and the bounds that they set."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim

from scaler.policy.target import Knobs, Schedule

# Beyond these years there is no calendar: a clock that shows them is wrong.
_EARLIEST, _LATEST = 0.0, 32_503_680_000.0


class Bounds(NamedTuple):
    """The minimum and maximum that hold now, and the window that set each ("" for none)."""

    low: int
    high: int
    low_by: str
    high_by: str


def bounds(knobs: Knobs, now: float) -> Bounds:
    """The bounds at `now` (epoch seconds). Of overlapping windows the highest number holds."""
    low, high = knobs.min_workers, knobs.max_workers
    if not knobs.schedules:
        return _always(low, high)
    minute = int(min(max(now, _EARLIEST), _LATEST) // 60)
    active = [one for one in knobs.schedules if is_open(one, minute)]
    low_by = high_by = ""
    capped = [(one.max_workers, one.name) for one in active if one.max_workers is not None]
    if capped:
        high, high_by = max(capped)
    for one in active:
        if one.min_workers is not None and one.min_workers > low:
            low, low_by = one.min_workers, one.name
    if low > high:
        high, high_by = low, low_by
    return Bounds(low, high, low_by, high_by)


@lru_cache(maxsize=4096)
def _always(low: int, high: int) -> Bounds:
    return Bounds(low, high, "", "")


# Cron knows no seconds, so the answer is good for the whole minute.
@lru_cache(maxsize=4096)
def is_open(schedule: Schedule, minute: int) -> bool:
    """Whether the window is open in that minute since the epoch: its begin came after its end."""
    zone = ZoneInfo(schedule.timezone)
    # Backwards search is strict: ask from the next minute to include this one.
    moment = datetime.fromtimestamp((minute + 1) * 60, UTC).astimezone(zone)
    begin = next(CronSim(schedule.start, moment, reverse=True), None)
    if begin is None:
        return False
    end = next(CronSim(schedule.end, moment, reverse=True), None)
    return end is None or begin.astimezone(UTC) > end.astimezone(UTC)
