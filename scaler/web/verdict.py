"""Is it keeping up? One word and a colour from a decision. Pure."""

from __future__ import annotations

from scaler.loop.controller import Cycle
from scaler.policy.decision import Action, Decision
from scaler.policy.explain import facts, workers
from scaler.policy.limits import Limit
from scaler.policy.memory import Memory
from scaler.policy.observation import value_of
from scaler.policy.schedule import Bounds
from scaler.web.models import Verdict


def verdict(cycle: Cycle | None, memory: Memory | None, limits: Bounds) -> Verdict:
    """What a person should know first about a target."""
    if cycle is None or memory is None:
        return Verdict(level="bad", text="No decision yet")
    return _held(cycle.decision, memory) or _broken(cycle) or _by_load(cycle.decision, limits)


def _held(decision: Decision, memory: Memory) -> Verdict | None:
    """When something keeps the number from moving."""
    fleet, limit = decision.observation.fleet, decision.limit
    if limit is not None and limit.row.level is not None:
        text = limit.row.headline.format_map(facts(decision))
        since = memory.known_at if limit is Limit.UNKNOWN else None
        return Verdict(level=limit.row.level, text=text, since=since)
    if fleet is not None and fleet.hold is not None:
        return Verdict(level="warning", text=f"Held: {fleet.hold}")
    return None


def _broken(cycle: Cycle) -> Verdict | None:
    """When a decision is made and does not come about."""
    fleet, failure = cycle.decision.observation.fleet, cycle.applied.failure
    if fleet is not None and fleet.obstacle is not None:
        return Verdict(level="bad", text=f"Workers do not start: {fleet.obstacle}")
    return Verdict(level="bad", text=f"Not applied: {failure}") if failure else None


def _by_load(decision: Decision, limits: Bounds) -> Verdict:
    seen = decision.observation
    waiting = int(value_of(seen.waiting) or 0)
    idle = int(value_of(seen.idle) or 0)
    if waiting <= idle:
        busy = int(value_of(seen.in_flight) or 0)
        return Verdict(level="good", text="Keeping up" if busy or waiting else "Nothing to do")
    wait = f"{waiting} {'job waits' if waiting == 1 else 'jobs wait'}"
    if decision.replicas is not None and decision.replicas >= limits.high:
        return Verdict(level="warning", text=f"At the maximum of {limits.high}: {wait}")
    if seen.fleet is not None and seen.fleet.starting:
        return Verdict(level="busy", text=f"Growing: {workers(seen.fleet.starting)} starting")
    if decision.action is Action.UP and decision.replicas is not None:
        return Verdict(level="busy", text=f"Growing to {workers(decision.replicas)}")
    return Verdict(level="warning", text=f"Behind: {wait}")
