"""Trailing maxima over time, as plain tuples: `max_over_time(x[span])` at a constant price."""

from __future__ import annotations

from collections.abc import Iterable

Window = tuple[tuple[float, float], ...]
"""(time, value) pairs, times rising and values falling: what can still be a maximum."""


def push(window: Window, now: float, value: float, span_s: float) -> Window:
    """`window` with `value` at `now`, without what is older than `span_s` or can't matter more.

    Where the clock has run back, what lies ahead of `now` counts as of now.
    """
    end = len(window)
    if end and window[-1][0] > now:
        window = capped_at(window, now)
    while end and window[end - 1][1] <= value:
        end -= 1
    start = 0
    oldest = now - span_s
    while start < end and window[start][0] < oldest:
        start += 1
    return (*window[start:end], (now, value))


def peak(window: Window, since: float) -> float | None:
    """The highest value at or after `since`, None when there is none."""
    for at, value in window:
        if at >= since:
            return value
    return None


def capped_at(window: Window, now: float) -> Window:
    """`window` with what lies after `now` as of then."""
    return tuple((min(at, now), value) for at, value in window)


def falling(points: Iterable[tuple[float, float]]) -> Window:
    """The window that these leave, in whatever order they come."""
    window: list[tuple[float, float]] = []
    for at, value in sorted(points, reverse=True):
        if not window or value > window[-1][1]:
            window.append((at, value))
    return tuple(reversed(window))
