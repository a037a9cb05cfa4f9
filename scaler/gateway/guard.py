"""What may be done: change the count of a service that opted in, within its bounds. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from scaler.orchestrators.swarm.removal_order import safe_to_lower
from scaler.orchestrators.swarm.service_view import ServiceView, bounds_of


def refusal(seen: ServiceView, count: int, defaults: Mapping[str, int]) -> str | None:
    """Why the count of `seen` may not become `count`; None when it may.

    `defaults` are the bounds (`min`, `max`) of services whose labels name none.
    """
    if not seen.opted_in:
        return f"{seen.name} has not opted in (label autoscaler.enable=true)"
    if count == seen.replicas:
        return f"{seen.name} already has {count} replicas"
    return _out_of_bounds(seen, count, defaults) or _held(seen, count) or _lowering(seen, count)


def _held(seen: ServiceView, count: int) -> str | None:
    # Whether there is an emergency is the scaler's to judge; nobody is stopped by a raise.
    return None if seen.hold_yields and count > seen.replicas else seen.hold


def _out_of_bounds(seen: ServiceView, count: int, defaults: Mapping[str, int]) -> str | None:
    try:
        low, high = bounds_of(seen.labels, defaults)
    except ValueError as error:
        return f"{seen.name}: {error}"
    if count > high + seen.dead:
        return f"{count} is above the maximum {high} plus {seen.dead} empty slots"
    return f"{count} is below the minimum {low}" if count < low else None


def _lowering(seen: ServiceView, count: int) -> str | None:
    if count > seen.replicas:
        return None
    if count != seen.replicas - 1:
        return "a count is lowered by one at a time"
    if len(seen.slots) != seen.replicas:
        return "Swarm has not caught up with the last change yet"
    if not safe_to_lower(seen.slots):
        return "Swarm would remove a slot that somebody is in"
    return None
