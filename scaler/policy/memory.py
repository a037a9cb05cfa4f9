"""What has to be remembered of a target from one decision to the next: plain data.

Each field says where it stands how it outlives a restart. A new field is one entry of `Memory`,
and the line that sets it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from functools import cache
from typing import Annotated, Any, NamedTuple, get_type_hints

from scaler.policy.forecast import Forecast, Hours
from scaler.policy.orders import Order, OrderKind
from scaler.policy.target import Target
from scaler.policy.trailing_maxima import Window


class Survival(Enum):
    """How a field is had again by a scaler whose history is lost."""

    SEEN = "rebuilt from the signals that Prometheus recorded"
    DECIDED = "rebuilt from the decisions that Prometheus recorded"
    KEPT = "not rebuilt: the history alone has it"


# Trailing maxima span less than an hour, whatever a worker's start-up is.
_WINDOWS_S = 3600.0


def _windows(_: Target) -> float:
    return _WINDOWS_S


def _cooldown(target: Target) -> float:
    return target.gates.cooldown_s or 0.0


def _fallback_after(target: Target) -> float:
    return target.fallback_after


class Remembered(NamedTuple):
    """How a field of the memory outlives a restart."""

    of: Survival
    back: Callable[[Target], float] = _windows
    """Seconds of the past that it depends on."""
    read: Callable[[Any], Any] | None = None
    """Makes it out of what JSON has of it."""


def _window(content: Any) -> Window:
    return tuple((float(at), float(value)) for at, value in content)


def _hours(content: Mapping[str, Any]) -> Hours:
    return Hours(**{**content, "means": tuple(content["means"])})


def _outlook(content: Mapping[str, Any]) -> Forecast:
    return Forecast(**content)


@dataclass(frozen=True, slots=True)
class Memory:
    """What one target's next decision needs of the past."""

    at: Annotated[float | None, Remembered(Survival.SEEN)] = None
    """Epoch seconds of the latest decision."""
    target: Annotated[int | None, Remembered(Survival.DECIDED)] = None
    """Its number, without those run in place of unhealthy ones."""
    replaced: Annotated[int, Remembered(Survival.KEPT)] = 0
    """How many of those it had: counted anew by the next decision that is not held."""
    changed_at: Annotated[float | None, Remembered(Survival.DECIDED, _cooldown)] = None
    """When that number last changed."""
    known_at: Annotated[float | None, Remembered(Survival.SEEN, _fallback_after)] = None
    """When everything that a decision needs was last known."""
    busy: Annotated[int, Remembered(Survival.SEEN)] = 0
    """Busy workers when last known."""
    wanted: Annotated[Window, Remembered(Survival.SEEN, read=_window)] = ()
    """Trailing maximum of the number wanted by demand."""
    short_since: Annotated[float | None, Remembered(Survival.KEPT)] = None
    """Since when jobs wait while no worker is idle or starting; None while that is not so. Who is
    starting, only the orchestrator knows, so an emergency is counted anew."""
    capped_at: Annotated[float | None, Remembered(Survival.SEEN)] = None
    """When demand last exceeded the maximum."""
    capped_again: Annotated[bool, Remembered(Survival.SEEN)] = False
    """Whether that was not long after it had done so before."""
    capped_until: Annotated[float | None, Remembered(Survival.SEEN)] = None
    """Until when the maximum is kept that demand exceeds again and again."""
    capped_high: Annotated[int, Remembered(Survival.SEEN)] = 0
    """That maximum."""
    highs: Annotated[Window, Remembered(Survival.DECIDED, read=_window)] = ()
    """Trailing maximum of the target over a minute, for the rate limits."""
    lows: Annotated[Window, Remembered(Survival.DECIDED, read=_window)] = ()
    """The same of its negative."""
    hours: Annotated[Hours, Remembered(Survival.SEEN, read=_hours)] = field(default_factory=Hours)
    """Demand by the hour: read as hours, since they go back for days."""
    outlook: Annotated[Forecast | None, Remembered(Survival.SEEN, read=_outlook)] = None
    """The forecast for the present hour, out of `hours`."""
    order: Annotated[Order | None, Remembered(Survival.KEPT)] = None
    """The pause or override that was ordered last; the ledger has it too."""

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        content = asdict(self)
        del content["order"]
        return content | {kind: self._ordered(kind) for kind in _ORDERS}

    def _ordered(self, kind: OrderKind) -> dict[str, Any] | None:
        order = self.order
        return None if order is None or order.order is not kind else _part(order)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Memory:
        """What `to_json` wrote; what is missing has its default, what another version added is
        passed over. Raises KeyError, TypeError or ValueError when it is something else."""
        found = {
            name: _read(mark, content[name]) for name, mark in marks().items() if name in content
        }
        for kind in _ORDERS:
            if content.get(kind):
                kept = {"at": content.get("at") or 0.0, "by": "", **content[kind]}
                found["order"] = Order(order=kind, **kept)
        return cls(**found)


_ORDERS = {
    OrderKind.PAUSE: {"reason", "until"},
    OrderKind.OVERRIDE: {"reason", "until", "replicas"},
}
"""Under which names, and with which of its fields, an order is kept in the memory."""


def _part(order: Order) -> dict[str, Any]:
    return order.model_dump(include=_ORDERS[order.order])


def _read(mark: Remembered, content: Any) -> Any:
    return content if mark.read is None or content is None else mark.read(content)


@cache
def marks() -> Mapping[str, Remembered]:
    """How each field outlives a restart, by its name."""
    hints = get_type_hints(Memory, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


def look_back(target: Target, of: Survival) -> float:
    """Seconds of the past from which the fields of that kind are rebuilt."""
    return max(mark.back(target) for mark in marks().values() if mark.of is of)


def apply_order(memory: Memory, order: Order) -> Memory:
    """`memory` with the order in it; it replaces the one before."""
    return replace(memory, order=None if order.order is OrderKind.RESUME else order)


def order_at(memory: Memory | None, now: float) -> Order | None:
    """The order that is in force at `now` (epoch seconds)."""
    order = None if memory is None else memory.order
    return order if order is not None and order.holds_at(now) else None
