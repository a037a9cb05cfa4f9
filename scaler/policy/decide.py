"""How many workers: a pure function of what is seen, what is remembered, and the time.

Demand is jobs waiting plus jobs in progress. Wanted is demand, plus headroom for what arrives
while a worker starts, less a share of the jobs that end before it could help; and of that the
trailing maximum over a part of S, which keeps an idle worker while its restart would cost more.
Unknown is never zero: the last target holds. docs/policy.md has the reasoning and the evidence.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import NamedTuple

from scaler.policy import explain
from scaler.policy.alternative_rules import raw_wants, thresholds_want
from scaler.policy.ceiling import ceiling, standing
from scaler.policy.decision import Action, Decision, ProposalKind
from scaler.policy.limits import Limit
from scaler.policy.memory import Memory, order_at
from scaler.policy.observation import Fleet, Known, Observation, believed
from scaler.policy.orders import Order, OrderKind
from scaler.policy.prospect import Prospect
from scaler.policy.remember import (
    MINUTE_S,
    bounds_in_force,
    looked_ahead,
    moved,
    unknown_signal,
)
from scaler.policy.schedule import Bounds
from scaler.policy.target import MAX_REPLICAS, Fallback, Rule, Target
from scaler.policy.trailing_maxima import peak

Proposals = tuple[tuple[ProposalKind, float], ...]


class _Case(NamedTuple):
    """What one decision is about."""

    observation: Observation
    memory: Memory
    target: Target
    bounds: Bounds
    order: Order | None
    now: float
    ahead: Prospect | None
    """What is expected; None while demand is unknown."""


class _Held(NamedTuple):
    """Why no new number may be decided."""

    limit: Limit
    note: str


def decide(
    observation: Observation, memory: Memory, target: Target, now: float
) -> tuple[Decision, Memory]:
    """The decision at `now` (epoch seconds), and the memory to hand in next time."""
    observation = believed(observation)
    memory = memory.as_of(now)
    bounds, order = bounds_in_force(memory, target, now), order_at(memory, now)
    memory, ahead = looked_ahead(observation, memory, target, now, bounds)
    case = _Case(observation, memory, target, bounds, order, now, ahead)
    held = _why_held(case)
    if held is not None:
        return _hold(held, case)
    seen = observation.fleet
    assert seen is not None  # noqa: S101 - _why_held has looked
    # Decided as if the unhealthy were not there; each is then one more to run.
    fleet = replace(seen, running=seen.running - seen.unhealthy) if seen.unhealthy else seen
    wanted, proposals = _wanted(case, fleet)
    if memory.target is None:
        # The fleet that is found is what the first change is measured by.
        memory = moved(memory, fleet.running, target, now)
        case = case._replace(memory=memory)
    before = fleet.running if memory.target is None else memory.target
    number, limit = _paced(case, fleet, wanted, before)
    number, limit, window = _within(case, number, limit, min(memory.busy, fleet.running))
    total = max(number, min(number + seen.unhealthy, bounds.high))
    if seen.hold is not None and total <= seen.running:
        return _hold(_Held(Limit.ORCHESTRATOR, seen.hold), case)
    memory = moved(memory, number, target, now, known_at=now, replaced=total - number)
    idle = observation.idle
    may_leave = int(min(idle.value, seen.running)) if isinstance(idle, Known) else 0
    decision = Decision(
        now,
        target.name,
        total,
        _action(total, seen.running, limit, wanted + total - number),
        proposals,
        bounds,
        observation,
        limit,
        window,
        retire=max(0, min(seen.running - total, may_leave)),
        note=_note(case, seen, total - number),
        urgent=seen.hold is not None,
    )
    return decision, memory


def _wanted(case: _Case, fleet: Fleet) -> tuple[int, Proposals]:
    observation, memory, target, high = case.observation, case.memory, case.target, case.bounds.high
    if target.policy is Rule.PLAN:
        number = thresholds_want(observation, fleet.running)
        return number, ((ProposalKind.THRESHOLDS, number),)
    if target.policy is Rule.RAW:
        number = raw_wants(observation, target.per_worker)
        return number, ((ProposalKind.QUERY, number),)
    wanted = memory.wanted[0][1]
    proposals: Proposals = ((ProposalKind.NOW, memory.wanted[-1][1]), (ProposalKind.LATELY, wanted))
    ahead = case.ahead
    if ahead is not None and ahead.usual is not None:
        usual = ((ProposalKind.USUAL, ahead.usual), (ProposalKind.EXPECTED, ahead.expected))
        proposals = usual + proposals
    kept = min(memory.capped_high, high)
    if memory.capped_until is not None and case.now <= memory.capped_until and wanted < kept:
        wanted = kept
        proposals = (*proposals, (ProposalKind.KEPT, kept))
    outlook = memory.outlook
    if target.forecast and outlook is not None and outlook.trusted:
        floor = int(min(outlook.expected or 0.0, MAX_REPLICAS))
        wanted = max(wanted, floor)
        proposals = (*proposals, (ProposalKind.FORECAST, floor))
    return ceil(wanted), proposals


def _note(case: _Case, fleet: Fleet, replaced: int) -> str:
    """What the numbers do not say."""
    if not fleet.unhealthy and fleet.hold is None and case.order is None:
        return ""
    return explain.joined(
        explain.unhealthy(fleet, replaced),
        explain.emergency(fleet, case.memory.short_since, case.now),
        explain.overridden(case.order, case.bounds.high),
    )


def _paced(case: _Case, fleet: Fleet, wanted: int, before: int) -> tuple[int, Limit | None]:
    """Apply the operator's thresholds, cooldown and rate limits to a change."""
    if wanted == before:
        return wanted, None
    forbidden = _forbidden(case, fleet, growing=wanted > before)
    if forbidden is not None:
        return before, forbidden
    target, memory, since = case.target, case.memory, case.now - MINUTE_S
    added, removed = target.max_added_per_minute, target.max_removed_per_minute
    if added is not None:
        lowest = peak(memory.lows, since)
        most = max(before, added + (before if lowest is None else int(-lowest)))
        if wanted > most:
            return most, Limit.ADDED
    if removed is not None:
        highest = peak(memory.highs, since)
        least = min(before, (before if highest is None else int(highest)) - removed)
        if wanted < least:
            return least, Limit.REMOVED
    return wanted, None


def _forbidden(case: _Case, fleet: Fleet, *, growing: bool) -> Limit | None:
    """Which of the cooldown and the thresholds forbids a change in that direction."""
    up, down, cooldown = case.target.gates
    changed_at = case.memory.changed_at
    if cooldown is not None and changed_at is not None and case.now - changed_at < cooldown:
        return Limit.COOLDOWN
    waiting = case.observation.waiting
    if not isinstance(waiting, Known):
        return None
    if growing and up is not None and waiting.value <= fleet.running * up:
        return Limit.UP_THRESHOLD
    if not growing and down is not None and waiting.value >= fleet.running * down:
        return Limit.DOWN_THRESHOLD
    return None


def _within(
    case: _Case, number: int, limit: Limit | None, busy: int
) -> tuple[int, Limit | None, str]:
    """`number` within the bounds and never below the workers that are busy; what limited it, and
    the schedule that set that."""
    bounds, window = case.bounds, ""
    if number < bounds.low:
        number, window = bounds.low, bounds.low_by
        limit = Limit.SCHEDULE if window else Limit.MIN
    if number > bounds.high:
        number, window = bounds.high, bounds.high_by
        limit = Limit.SCHEDULE if window else Limit.MAX
    if number < busy:
        number, limit, window = busy, Limit.BUSY, ""
    if case.order is not None and (limit is None or not limit.row.under_override):
        return number, Limit.OVERRIDE, ""
    return number, limit, window


def _action(number: int, running: int, limit: Limit | None, wanted: int) -> Action:
    if number > running:
        return Action.UP
    if number < running:
        return Action.DOWN
    return Action.HOLD if limit is not None and wanted != number else Action.NONE


def _why_held(case: _Case) -> _Held | None:
    """Why no new number may be decided, None when one may."""
    observation, order, fleet = case.observation, case.order, case.observation.fleet
    if order is not None and order.order is OrderKind.PAUSE:
        return _Held(Limit.PAUSE, explain.paused(order))
    unknown = unknown_signal(observation, case.target)
    if unknown is not None:
        return _Held(Limit.UNKNOWN, explain.unknown_signal(*unknown))
    if fleet is None:
        return _Held(Limit.UNKNOWN, explain.unknown_fleet(observation.fleet_error))
    if fleet.hold is not None and not _is_emergency(case, fleet):
        return _Held(Limit.ORCHESTRATOR, fleet.hold)
    return None


def _is_emergency(case: _Case, fleet: Fleet) -> bool:
    """Whether jobs have waited for too long to leave the fleet alone any longer."""
    patience, since = case.target.emergency_after, case.memory.short_since
    if not fleet.hold_yields or patience is None or since is None:
        return False
    return case.now - since >= patience


def _hold(held: _Held, case: _Case) -> tuple[Decision, Memory]:
    """Keep the last target: raised by bounds and busy workers, never lowered below those that run,
    never above the ceiling. No number is made up where none was ever known."""
    memory, target, bounds = case.memory, case.target, case.bounds
    limit, note = held
    number = _kept(case)
    if limit is Limit.UNKNOWN:
        since = memory.known_at
        if since is None:
            memory = memory._replace(known_at=case.now)
        elif case.order is None and case.now - since > target.fallback_after:
            number = _fallback(number, target)
            note = explain.fallback(note, target, case.now - since)
    ordered = explain.overridden(case.order, bounds.high)
    if number is None:
        return _held_decision(held, case, None, explain.joined(note, ordered)), memory
    stand = standing(case.observation, memory, held=True)
    kept = number + memory.replaced if number == memory.target else number
    low = 0 if limit is Limit.PAUSE else bounds.low
    # Busy workers that are leaving count in `busy` but not in what may be kept.
    number = max(number, low, min(memory.busy, stand))
    total = max(number, kept)
    most = ceiling(case.observation, memory, bounds, held=True)
    if total > most:
        note = explain.joined(note, explain.above_ceiling(total, bounds, stand))
        total, number = most, min(number, most)
    decision = _held_decision(held, case, total, explain.joined(note, ordered))
    return decision, moved(memory, number, target, case.now, replaced=total - number)


def _kept(case: _Case) -> int | None:
    """The number to go on with: the last one, what is found running, or what is ordered."""
    fleet = case.observation.fleet
    if case.memory.target is not None:
        return case.memory.target
    if fleet is not None:
        return fleet.running
    return None if case.order is None else case.order.replicas


def _held_decision(held: _Held, case: _Case, number: int | None, note: str) -> Decision:
    return Decision(
        case.now,
        case.target.name,
        number,
        Action.HOLD,
        (),
        case.bounds,
        case.observation,
        held.limit,
        note=note,
    )


def _fallback(number: int | None, target: Target) -> int | None:
    other = target.fallback_replicas
    if target.fallback is Fallback.HOLD or other is None:
        return number
    return other if number is None or target.fallback is Fallback.NUMBER else max(number, other)
