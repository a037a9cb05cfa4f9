"""The most workers that may be told, however the number came about. Pure."""

from __future__ import annotations

from math import ceil

from scaler.policy.memory import Memory
from scaler.policy.observation import Known, Observation
from scaler.policy.schedule import Bounds
from scaler.policy.target import MAX_REPLICAS


def busy_workers(observation: Observation, memory: Memory) -> int:
    """Workers with a job, as seen now or, where that is not known, as last seen."""
    in_flight = observation.in_flight
    return ceil(min(in_flight.value, MAX_REPLICAS)) if isinstance(in_flight, Known) else memory.busy


def standing(observation: Observation, memory: Memory, *, held: bool) -> int:
    """Workers that may not be asked to leave, so that a number below them stops somebody.

    Where a number is decided: the busy ones among those that run. Where it is held: all that run,
    since it is not known who is idle. Where the fleet is not seen: as many as were told last,
    which is what runs or is about to; the busy ones where none were told.
    """
    fleet = observation.fleet
    if fleet is not None and held:
        return fleet.running
    if fleet is None and memory.target is not None:
        return memory.target + memory.replaced
    busy = busy_workers(observation, memory)
    return busy if fleet is None else min(busy, fleet.running)


def ceiling(observation: Observation, memory: Memory, bounds: Bounds, *, held: bool) -> int:
    """The most that a decision may name: the maximum in force, or those that stand if more do.

    So neither a maximum that was lowered, nor a fallback number or an order above it ever grows a
    fleet, and none stops anybody. `memory` is what the decision was handed, `bounds` and the
    `observation` are what it records, `held` is whether its limit is one that holds.
    """
    return max(bounds.high, standing(observation, memory, held=held))
