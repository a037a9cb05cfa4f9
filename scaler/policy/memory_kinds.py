"""What the fields of a memory are of: how each is read, moved in time, and kept from the future.

Reading raises KeyError, TypeError, ValueError or OverflowError for what is something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from operator import itemgetter
from typing import Any, NamedTuple

from scaler.policy.forecast import KEPT_HOURS, Forecast, Hours
from scaler.policy.mean_reversion import MOST_KEPT, Mean, Moments, Points
from scaler.policy.orders import Order
from scaler.policy.staffing import LOOK_BACK_S
from scaler.policy.target import MAX_REPLICAS
from scaler.policy.trailing_maxima import Window, capped_at, falling
from scaler.policy.usual import Usual

# Until the end of the year 9999: what is beyond it is no time.
_LATEST = 253_402_300_799.0
_MOST_POINTS = 2 * MAX_REPLICAS


def _stays(value: Any, _: float) -> Any:
    return value


def _as_is(value: Any) -> Any:
    return value


class FieldKind(NamedTuple):
    """What a field holds; None of anything stays None."""

    read: Callable[[Any], Any]
    """Makes it out of what JSON has of it."""
    shift: Callable[[Any, float], Any] = _stays
    """As if it had happened so many seconds later; nothing to do for what is no time."""
    cap: Callable[[Any, float], Any] = _stays
    """With what lies after that moment (epoch seconds), where it cannot, brought back to it."""
    write: Callable[[Any], Any] = _as_is
    """Makes what JSON has of it."""


def number_of(content: Any) -> float:
    """A finite number. Raises ValueError for anything else, OverflowError for one too large."""
    if isinstance(content, bool) or not isinstance(content, int | float) or not isfinite(content):
        raise ValueError("a finite number")
    return float(content)


def moment_of(content: Any) -> float:
    """A time in epoch seconds."""
    at = number_of(content)
    if not 0 <= at <= _LATEST:
        raise ValueError("a time in epoch seconds")
    return at


def _count(content: Any) -> int:
    number = number_of(content)
    if not 0 <= number <= MAX_REPLICAS or number % 1:
        raise ValueError(f"a number of workers, 0 to {MAX_REPLICAS}")
    return int(number)


def _flag(content: Any) -> bool:
    if not isinstance(content, bool):
        raise ValueError("true or false")
    return content


def _window(content: Any) -> Window:
    if not isinstance(content, list) or len(content) > _MOST_POINTS:
        raise ValueError(f"a list of at most {_MOST_POINTS} points")
    points = [(moment_of(at), number_of(value)) for at, value in content]
    if any(abs(value) > MAX_REPLICAS + 1 for _, value in points):
        raise ValueError(f"numbers of workers, up to {MAX_REPLICAS}")
    return falling(points)


def _hours(content: Mapping[str, Any]) -> Hours:
    means = [None if one is None else number_of(one) for one in content["means"][-KEPT_HOURS:]]
    last, count = int(number_of(content["last"])), int(number_of(content["count"]))
    return Hours(last, tuple(means), number_of(content["sum"]), max(0, count))


def _hours_as_data(hours: Hours) -> dict[str, Any]:
    last, means, total, samples = hours
    return {"last": last, "means": means, "sum": total, "count": samples}


def _outlook(content: Mapping[str, Any]) -> Forecast:
    hour = int(number_of(content["hour"]))
    parts = (content.get(name) for name in ("expected", "error", "naive_error"))
    return Forecast(hour, *(None if one is None else number_of(one) for one in parts))


def _usual(content: Mapping[str, Any]) -> Usual:
    demand, rate = (_moments(content[name]) for name in ("demand", "rate"))
    busy = content["busy"]
    at, weight = moment_of(busy["at"]), _positive(busy["weight"])
    return Usual(demand, rate, Mean(at, weight, number_of(busy["value"])))


def _moments(content: Mapping[str, Any]) -> Moments:
    names = ("weight", "pairs", "returns", "patience_s")
    weights = {name: _positive(content[name]) for name in names}
    return Moments(
        at=moment_of(content["at"]),
        **weights,
        mean=number_of(content["mean"]),
        variance=_positive(content["variance"]),
        covariance=number_of(content["covariance"]),
        above=_flag(content["above"]),
        turned_at=moment_of(content["turned_at"]),
        persistence=min(1.0, _positive(content["persistence"])),
        past=_past(content["past"]),
    )


def _positive(content: Any) -> float:
    number = number_of(content)
    if number < 0:
        raise ValueError("a number that is not negative")
    return number


def _past(content: Any) -> Points:
    if not isinstance(content, list) or len(content) > MOST_KEPT:
        raise ValueError(f"a list of at most {MOST_KEPT} points")
    past = tuple((moment_of(at), number_of(value)) for at, value in content)
    return tuple(sorted(past, key=itemgetter(0)))


def _later(at: float | None, by: float) -> float | None:
    return None if at is None else at + by


def _until_now(at: float | None, now: float) -> float | None:
    return None if at is None else min(at, now)


def _soon(at: float | None, now: float) -> float | None:
    return None if at is None else min(at, now + LOOK_BACK_S)


def _window_later(window: Window, by: float) -> Window:
    return tuple((at + by, value) for at, value in window)


def _usual_later(usual: Usual, by: float) -> Usual:
    return usual.at_times(lambda at: at + by)


def _usual_until(usual: Usual, now: float) -> Usual:
    return usual.at_times(lambda at: min(at, now))


def _order_later(order: Order | None, by: float) -> Order | None:
    if order is None:
        return None
    return order.model_copy(update={"at": order.at + by, "until": _later(order.until, by)})


MOMENT = FieldKind(moment_of, _later, _until_now)
"""When something happened."""
DEADLINE = FieldKind(moment_of, _later, _soon)
"""Until when something lasts that never lasts longer than LOOK_BACK_S."""
COUNT = FieldKind(_count)
"""So many workers."""
FLAG = FieldKind(_flag)
WINDOW = FieldKind(_window, _window_later, capped_at)
"""A trailing maximum."""
HOURS = FieldKind(_hours, write=_hours_as_data)
"""By the calendar, so a clock that was wrong moves nothing of it."""
OUTLOOK = FieldKind(_outlook, write=lambda outlook: outlook and outlook._asdict())
USUAL = FieldKind(_usual, _usual_later, _usual_until, Usual.to_json)
"""Moments of what is seen."""
ORDER = FieldKind(Order.model_validate, _order_later)
"""A person's: until a time, which may lie ahead as far as it will."""
