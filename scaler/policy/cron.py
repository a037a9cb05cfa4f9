"""What cron expressions come to: whether such a moment ever comes, and opens a window. Pure."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from cronsim import CronSim, CronSimError

# Weekdays, leap years and so all patterns of days repeat after 28 years.
_BEGIN = date(2024, 1, 1)
_DAYS = [_BEGIN + timedelta(days=day) for day in range(28 * 365 + 7)]
_FIELDS = 5


def cron_problem(expression: str) -> str:
    """Why it is no cron expression of five fields, or one whose moment never comes; "" where it
    is good."""
    if len(expression.split()) != _FIELDS:
        return "a cron expression of five fields, e.g. '0 8 * * MON-FRI'"
    try:
        parsed = _parsed(expression)
    except CronSimError as error:
        if _days_are_good(expression):
            return "a cron expression with a day that its months have; this one never comes"
        return f"a cron expression of five fields ({error})"
    if not any(_fires(parsed, day) for day in _DAYS):
        return "a cron expression with a day that its months have; this one never comes"
    return ""


def never_opens(start: str, end: str) -> bool:
    """Whether whenever `start` comes `end` comes too, so that the window closes as it opens.

    Both by wall clock; hours that daylight saving skips or repeats are not looked at.
    """
    begins, ends = _parsed(start), _parsed(end)
    if not (begins.minutes <= ends.minutes and begins.hours <= ends.hours):
        return False
    return all(_fires(ends, day) for day in _DAYS if _fires(begins, day))


def _parsed(expression: str) -> CronSim:
    return CronSim(expression, datetime(2024, 1, 1))  # any moment: only the fields are looked at


def _days_are_good(expression: str) -> bool:
    """Whether only the month makes it wrong: the parser refuses 30 February with the same words as
    a day 32."""
    fields = expression.split()
    try:
        _parsed(" ".join([*fields[:3], "*", fields[4]]))
    except CronSimError:
        return False
    return True


def _fires(cron: CronSim, day: date) -> bool:
    return day.month in cron.months and cron.match_day(day)
