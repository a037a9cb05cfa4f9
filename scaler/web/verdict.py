"""Is it keeping up? One word and a colour from a decision. Pure."""

from __future__ import annotations

from scaler.loop.controller import Cycle
from scaler.policy.decision import UP, Decision, Memory
from scaler.policy.observation import value_of
from scaler.policy.schedule import Bounds
from scaler.web.models import Verdict

_NOT_APPLIED = "not applied: "


def verdict(cycle: Cycle | None, memory: Memory | None, limits: Bounds) -> Verdict:
    """What a person should know first about a target."""
    if cycle is None or memory is None:
        return Verdict(level="bad", text="No decision yet")
    return _held(cycle, memory) or _broken(cycle) or _by_load(cycle.decision, limits)


def _held(cycle: Cycle, memory: Memory) -> Verdict | None:
    """When something keeps the number from moving."""
    decision = cycle.decision
    kept, bound = _workers(decision.replicas), decision.bound
    fleet = decision.observation.fleet
    if bound == "pause":
        return Verdict(level="paused", text=f"Paused at {kept}")
    if bound == "override":
        return Verdict(level="paused", text=f"Overridden to {kept}")
    if bound == "unknown":
        what = "Signals are unknown" if fleet else "The fleet is unknown"
        return Verdict(level="bad", text=f"{what}: holding {kept}", since=memory.known_at)
    if fleet is not None and fleet.hold is not None:
        return Verdict(level="warning", text=f"Held: {fleet.hold}")
    return None


def _broken(cycle: Cycle) -> Verdict | None:
    """When a decision is made and does not come about."""
    fleet = cycle.decision.observation.fleet
    if fleet is not None and fleet.obstacle is not None:
        return Verdict(level="bad", text=f"Workers do not start: {fleet.obstacle}")
    _, failed, why = cycle.applied.partition(_NOT_APPLIED)
    if failed:
        return Verdict(level="bad", text=f"Not applied: {why}")
    return None


def _by_load(decision: Decision, limits: Bounds) -> Verdict:
    seen = decision.observation
    waiting = int(value_of(seen.waiting) or 0)
    idle = int(value_of(seen.idle) or 0)
    if waiting <= idle:
        busy = int(value_of(seen.in_flight) or 0)
        return Verdict(level="good", text="Keeping up" if busy or waiting else "Nothing to do")
    wait = f"{waiting} {'job waits' if waiting == 1 else 'jobs wait'}"
    if decision.replicas >= limits.high:
        return Verdict(level="warning", text=f"At the maximum of {limits.high}: {wait}")
    if seen.fleet is not None and seen.fleet.starting:
        return Verdict(level="busy", text=f"Growing: {_workers(seen.fleet.starting)} starting")
    if decision.action == UP:
        return Verdict(level="busy", text=f"Growing to {_workers(decision.replicas)}")
    return Verdict(level="warning", text=f"Behind: {wait}")


def _workers(count: int) -> str:
    return f"{count} worker" if count == 1 else f"{count} workers"
