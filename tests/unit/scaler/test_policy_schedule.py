"""Cron windows with time zones, daylight saving and overlaps."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from scaler.policy.cron import cron_problem, never_opens
from scaler.policy.schedule import bounds, is_open
from scaler.policy.target import Schedule, Target

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def window(start: str, end: str, zone: str = BERLIN, **limits: int) -> Schedule:
    return Schedule(name="w", start=start, end=end, timezone=zone, **(limits or {"min_workers": 3}))


@pytest.mark.parametrize(
    ("moment", "open_"),
    [
        ("2026-03-02 07:59:59", False),
        ("2026-03-02 08:00:00", True),
        ("2026-03-02 17:59:59", True),
        ("2026-03-02 18:00:00", False),
        ("2026-03-01 12:00:00", False),  # a Sunday
    ],
)
def test_a_working_day(moment: str, open_: bool) -> None:
    day = window("0 8 * * MON-FRI", "0 18 * * MON-FRI")
    assert is_open(day, int(at(moment) // 60)) is open_


def test_a_window_over_midnight() -> None:
    night = window("0 22 * * *", "0 6 * * *")
    assert is_open(night, int(at("2026-05-04 23:30") // 60))
    assert is_open(night, int(at("2026-05-05 05:59") // 60))
    assert not is_open(night, int(at("2026-05-05 06:00") // 60))


def test_wall_clock_time_holds_through_daylight_saving() -> None:
    # Clocks go forward on 29 March 2026 and back on 25 October: 8 o'clock stays 8 o'clock.
    day = window("0 8 * * *", "0 18 * * *")
    for date in ("2026-03-28", "2026-03-29", "2026-03-30", "2026-10-25", "2026-10-26"):
        assert not is_open(day, int(at(f"{date} 07:59") // 60)), date
        assert is_open(day, int(at(f"{date} 08:00") // 60)), date


def test_a_begin_in_the_hour_that_is_skipped_still_opens() -> None:
    night = window("30 2 * * *", "0 5 * * *")
    assert is_open(night, int(at("2026-03-29 04:00") // 60))
    assert not is_open(night, int(at("2026-03-29 01:30") // 60))


def test_the_same_wall_clock_in_two_zones() -> None:
    here, there = window("0 8 * * *", "0 9 * * *"), window("0 8 * * *", "0 9 * * *", "Asia/Tokyo")
    minute = int(at("2026-01-10 08:30") // 60)
    assert is_open(here, minute)
    assert not is_open(there, minute)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("0 8 * * *", "0 8 * * *"),
        ("0 8 * * 1", "0 8 * * MON"),
        ("0 8 * * 0", "0 8 * * 7"),
        ("0 8 * * *", "0 8 1-31 1-12 *"),
        ("0 8 * * MON", "0 8 * * *"),  # whenever it begins, it ends
        ("0 8 * * *", "*/30 * * * *"),
        ("0 0 29 2 *", "0 0 L 2 *"),
    ],
)
def test_a_window_that_never_opens_is_refused(start: str, end: str) -> None:
    allowed = r"another time than start, .*: the window would never open"
    with pytest.raises(ValidationError, match=allowed) as caught:
        window(start, end)
    assert caught.value.errors()[0]["loc"] == ("end",)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("0 8 * * *", "0 8 1-30 * *"),  # on the 31st it opens, for a day
        ("* * * * *", "* * * * MON-SAT"),
        ("* * * * *", "0 0 1 1 *"),
        ("0 8 28 2 *", "0 8 L 2 *"),  # in leap years
        ("0 8 * * MON", "0 8 * * TUE"),
        ("0 8 29 2 *", "0 9 29 2 *"),
    ],
)
def test_a_window_that_opens_at_times_is_none_of_these(start: str, end: str) -> None:
    assert not never_opens(start, end)
    window(start, end)


CRON_PARTS = st.tuples(
    st.sampled_from(["0", "30", "*/30", "*"]),
    st.sampled_from(["8", "8-9", "*", "*/8"]),
    st.sampled_from(["*", "1", "1-15", "31", "L"]),
    st.sampled_from(["*", "1", "2,3", "1-12"]),
    st.sampled_from(["*", "1", "MON", "MON-FRI", "0,7"]),
).map(" ".join)


@settings(max_examples=100, deadline=None)
@given(CRON_PARTS, CRON_PARTS)
def test_what_never_opens_is_never_open(start: str, end: str) -> None:
    if cron_problem(start) or cron_problem(end):
        return
    opens = not never_opens(start, end)
    pair = Schedule.model_construct(name="w", start=start, end=end, timezone="UTC")
    begins = CronSim(start, datetime(2024, 1, 1, tzinfo=UTC))
    seen = any(is_open(pair, int(next(begins).timestamp() // 60)) for _ in range(20))
    assert opens or not seen


@pytest.mark.parametrize(
    "never", ["0 8 30 2 *", "0 0 31 4,6 *", "0 0 31 2 */3", "0 0 */31 * MON#5"]
)
@pytest.mark.parametrize("field", ["start", "end"])
def test_a_moment_that_never_comes_is_refused(never: str, field: str) -> None:
    both = {"start": "0 8 * * *", "end": "0 18 * * *", field: never}
    with pytest.raises(ValidationError, match=r"this one never comes") as caught:
        window(both["start"], both["end"])
    assert caught.value.errors()[0]["loc"] == (field,)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("0 8 32 2 *", "Bad day-of-month"),
        ("0 8 30 2 8", "Bad day-of-week"),
        ("61 * * * *", "Bad minute"),
        ("0 8 * *", "five fields, e.g."),
    ],
)
def test_what_is_no_cron_expression_is_told_apart_from_that(wrong: str, words: str) -> None:
    assert words in cron_problem(wrong)


@pytest.mark.parametrize("now", [-1e18, -1.0, 1e18])
def test_a_clock_beyond_the_calendar_has_bounds_too(now: float) -> None:
    target = Target(schedules=(window("0 8 * * *", "0 9 * * *"),))
    assert bounds(target, now).low in (1, 3)


def test_of_overlapping_windows_the_highest_holds() -> None:
    always = ("0 0 * * *", "59 23 * * *")
    low = Schedule(name="low", start=always[0], end=always[1], min_workers=3, max_workers=12)
    high = Schedule(name="high", start=always[0], end=always[1], min_workers=5, max_workers=8)
    target = Target(schedules=(low, high))
    found = bounds(target, at("2026-01-10 12:00"))
    assert (found.low, found.low_by, found.high, found.high_by) == (5, "high", 12, "low")


def test_without_an_open_window_the_targets_bounds_hold() -> None:
    target = Target(schedules=(window("0 8 * * *", "0 9 * * *"),))
    assert bounds(target, at("2026-01-10 12:00")) == (1, 10, "", "")


def test_a_window_that_lowers_the_maximum() -> None:
    cap = window("0 0 * * *", "59 23 * * *", max_workers=2)
    assert bounds(Target(schedules=(cap,)), at("2026-01-10 12:00")).high == 2
