"""Times and spans as people write them."""

from __future__ import annotations

import re
from datetime import datetime

from common.errors import ConfigError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"(\d{1,6})([smhdw])")
_MOMENT_ALLOWED = "a span ago such as 30m, HH:MM, 2026-11-24T12:30, or epoch seconds"


def seconds(text: str, field: str) -> float:
    """`90s`, `30m`, `2h`, `1d`, `1w` in seconds. Raises ConfigError naming `field`."""
    match = _SPAN.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise ConfigError(field, text, "a number and a unit of s, m, h, d, w, e.g. 30m or 7d")
    return float(int(match[1]) * _UNITS[match[2]])


def moment(text: str, field: str, now: datetime) -> float:
    """A moment as epoch seconds; clock times are local, of the day of `now`."""
    text = text.strip()
    if _SPAN.fullmatch(text):
        return now.timestamp() - seconds(text, field)
    if re.fullmatch(r"\d{9,11}(\.\d+)?", text):
        return float(text)
    try:
        if re.fullmatch(r"\d\d:\d\d(:\d\d)?", text):
            clock = datetime.strptime(text, "%H:%M:%S" if text.count(":") == 2 else "%H:%M")
            return now.replace(
                hour=clock.hour, minute=clock.minute, second=clock.second, microsecond=0
            ).timestamp()
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ConfigError(field, text, _MOMENT_ALLOWED) from None
