"""What has to be remembered of a target from one decision to the next: plain data.

Each field says where it stands how it outlives a restart. A new field is one entry of `Memory`,
and the line that sets it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, NamedTuple, get_type_hints

from pydantic import ValidationError

from scaler.policy.forecast import NO_HOURS, Forecast, Hours
from scaler.policy.memory_kinds import (
    COUNT,
    DEADLINE,
    FLAG,
    HOURS,
    MOMENT,
    ORDER,
    OUTLOOK,
    USUAL,
    WINDOW,
    FieldKind,
    moment_of,
)
from scaler.policy.orders import Order, OrderKind
from scaler.policy.staffing import LOOK_BACK_S
from scaler.policy.target import Target
from scaler.policy.trailing_maxima import Window
from scaler.policy.usual import NOTHING, Usual

ADDITIONS = "additions"
"""In the JSON of a memory, the name of what version 0.1.0 does not know."""


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
    """How a field of the memory outlives a restart, and a step of the clock."""

    of: Survival
    kind: FieldKind
    """What it is of: how it is read, and moved in time."""
    back: Callable[[Target], float] = _windows
    """Seconds of the past that it depends on."""
    added: bool = False
    """Whether version 0.1.0 does not know it."""


class Memory(NamedTuple):
    """What one target's next decision needs of the past."""

    at: Annotated[float | None, Remembered(Survival.SEEN, MOMENT)] = None
    """Epoch seconds of the latest decision that had a number."""
    target: Annotated[int | None, Remembered(Survival.DECIDED, COUNT)] = None
    """Its number, without those run in place of unhealthy ones; None where none was ever known."""
    replaced: Annotated[int, Remembered(Survival.KEPT, COUNT)] = 0
    """How many of those it had: counted anew by the next decision that is not held."""
    changed_at: Annotated[float | None, Remembered(Survival.DECIDED, MOMENT, _cooldown)] = None
    """When that number last changed."""
    known_at: Annotated[float | None, Remembered(Survival.SEEN, MOMENT, _fallback_after)] = None
    """When everything that a decision needs was last known."""
    busy: Annotated[int, Remembered(Survival.SEEN, COUNT)] = 0
    """Busy workers when last known."""
    wanted: Annotated[Window, Remembered(Survival.SEEN, WINDOW)] = ()
    """Trailing maximum of the number wanted by demand."""
    short_since: Annotated[float | None, Remembered(Survival.KEPT, MOMENT)] = None
    """Since when jobs wait while no worker is idle or starting; None while that is not so. Who is
    starting, only the orchestrator knows, so an emergency is counted anew."""
    capped_at: Annotated[float | None, Remembered(Survival.SEEN, MOMENT)] = None
    """When demand last exceeded the maximum."""
    capped_again: Annotated[bool, Remembered(Survival.SEEN, FLAG)] = False
    """Whether that was not long after it had done so before."""
    capped_until: Annotated[float | None, Remembered(Survival.SEEN, DEADLINE)] = None
    """Until when the maximum is kept that demand exceeds again and again."""
    capped_high: Annotated[int, Remembered(Survival.SEEN, COUNT)] = 0
    """That maximum."""
    highs: Annotated[Window, Remembered(Survival.DECIDED, WINDOW)] = ()
    """Trailing maximum of the target over a minute, for the rate limits."""
    lows: Annotated[Window, Remembered(Survival.DECIDED, WINDOW)] = ()
    """The same of its negative."""
    usual: Annotated[Usual, Remembered(Survival.SEEN, USUAL, added=True)] = NOTHING
    """What demand and arrivals go back to, over the last hour."""
    hours: Annotated[Hours, Remembered(Survival.SEEN, HOURS)] = NO_HOURS
    """Demand by the hour: read as hours, since they go back for days."""
    outlook: Annotated[Forecast | None, Remembered(Survival.SEEN, OUTLOOK)] = None
    """The forecast for the present hour, out of `hours`."""
    order: Annotated[Order | None, Remembered(Survival.KEPT, ORDER)] = None
    """The pause or override that was ordered last; the ledger has it too."""

    def shifted(self, by: float) -> Memory:
        """As it would be had all of it happened `by` seconds later: for a wall clock that was
        stepped by that much. A person's order moves too, since "for an hour" was said; the hours
        of the forecast stay, since they are of the calendar."""
        kinds = (mark.kind for mark in marks().values())
        return Memory._make(kind.shift(value, by) for kind, value in zip(kinds, self, strict=True))

    def as_of(self, now: float) -> Memory:
        """Without anything that happened after `now` (epoch seconds), which cannot be.

        Where the clock has run back, all of it happened as long ago as before; only a person's
        order is left, which may have been given by the new clock. What is in the future even so
        is taken to have happened now.
        """
        if not _is_ahead(self, now):
            return self
        ahead = self.at is not None and self.at > now
        moved = self.shifted(now - self.at) if ahead and self.at is not None else self
        kinds = (mark.kind for mark in marks().values())
        capped = (kind.cap(value, now) for kind, value in zip(kinds, moved, strict=True))
        return Memory._make(capped)._replace(order=self.order)

    def to_json(self) -> dict[str, Any]:
        """As plain data: under the names that version 0.1.0 knows, which refuses others, and what
        it does not know under ADDITIONS."""
        known: dict[str, Any] = {}
        additions: dict[str, Any] = {}
        for (name, mark), value in zip(marks().items(), self, strict=True):
            if name != "order":
                (additions if mark.added else known)[name] = mark.kind.write(value)
        return known | {kind: self._ordered(kind) for kind in _ORDERS} | {ADDITIONS: additions}

    def _ordered(self, kind: OrderKind) -> dict[str, Any] | None:
        order = self.order
        return None if order is None or order.order is not kind else _part(order)

    @classmethod
    def from_json(cls, content: Any, lost: Callable[[str], object] = lambda _: None) -> Memory:
        """What `to_json` wrote, here or in another version: what is missing has its default, what
        is not known here is passed over, and what is broken costs itself: `lost` is told its name.

        An order that cannot be read holds as a pause, so that none is dropped without a person.
        Raises ValueError when it is no memory at all.
        """
        if not isinstance(content, Mapping):
            raise ValueError(f"a memory is an object, not {type(content).__name__}")
        found: dict[str, Any] = {}
        additions = content.get(ADDITIONS)
        written = {**content, **additions} if isinstance(additions, Mapping) else content
        for name, mark in marks().items():
            if written.get(name) is not None and name != "order":
                try:
                    found[name] = mark.kind.read(written[name])
                except (KeyError, TypeError, ValueError, OverflowError):
                    lost(name)
        order = _kept_order(content, lost)
        return cls(**found) if order is None else cls(**found, order=order)


_ORDERS = {
    OrderKind.PAUSE: {"reason", "until"},
    OrderKind.OVERRIDE: {"reason", "until", "replicas"},
}
"""Under which names, and with which of its fields, an order is kept in the memory."""


def _part(order: Order) -> dict[str, Any]:
    return order.model_dump(include=_ORDERS[order.order])


def _kept_order(content: Mapping[str, Any], lost: Callable[[str], object]) -> Order | None:
    """Of the two that version 0.1.0 may have kept at once, the pause is in force."""
    kept = next(((kind, content[kind]) for kind in _ORDERS if content.get(kind) is not None), None)
    if kept is None:
        return None
    kind, part = kept
    fields = dict(part) if isinstance(part, Mapping) else {}
    fields = {name: value for name, value in fields.items() if name in _ORDERS[kind]}
    given: dict[str, Any] = {"at": _moment_or(content.get("at"), 0.0), "by": ""}
    try:
        return Order(**{**given, **fields, "order": kind})
    except ValidationError:
        lost(kind)
        reason = f"the {kind} in the history cannot be read, so the fleet is left as it is"
        until = _moment_or(fields.get("until"), None)
        return Order(**{**given, "order": OrderKind.PAUSE, "reason": reason, "until": until})


def _moment_or(content: Any, otherwise: float | None) -> float | None:
    try:
        return moment_of(content)
    except (ValueError, OverflowError):
        return otherwise


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
    return memory._replace(order=None if order.order is OrderKind.RESUME else order)


def order_at(memory: Memory | None, now: float) -> Order | None:
    """The order that is in force at `now` (epoch seconds)."""
    order = None if memory is None else memory.order
    return order if order is not None and order.holds_at(now) else None


def _of_kind(kind: FieldKind) -> Callable[[Memory], tuple[Any, ...]]:
    return attrgetter(*(name for name, mark in marks().items() if mark.kind is kind))


_moments, _windows_of = _of_kind(MOMENT), _of_kind(WINDOW)


def _is_ahead(memory: Memory, now: float) -> bool:
    """Whether something that has happened, by the memory, lies after `now`."""
    for at in _moments(memory):
        if at is not None and at > now:
            return True
    for window in _windows_of(memory):
        if window and window[-1][0] > now:
            return True
    until = memory.capped_until
    return until is not None and until > now + LOOK_BACK_S
