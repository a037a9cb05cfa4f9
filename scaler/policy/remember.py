"""What is seen goes into the memory: at every decision, and again out of the recorded past."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, inf

from scaler.policy.ceiling import busy_workers
from scaler.policy.forecast import HOUR_S, forecast
from scaler.policy.memory import Memory, order_at
from scaler.policy.observation import (
    NOT_ASKED,
    Known,
    Observation,
    Unknown,
    believed,
    value_of,
)
from scaler.policy.prospect import Prospect, prospect
from scaler.policy.schedule import Bounds, bounds
from scaler.policy.staffing import (
    LOOK_BACK_S,
    keep_capped_for,
    keep_idle_for,
    startup_of,
)
from scaler.policy.target import MAX_REPLICAS, Rule, Target
from scaler.policy.trailing_maxima import push
from scaler.policy.usual import Load

MINUTE_S = 60.0
# A loop that stood still says nothing about how long the next worker will be waited for.
_LONGEST_TICK_S = 60.0


def bounds_in_force(memory: Memory, target: Target, now: float) -> Bounds:
    """The bounds at `now` (epoch seconds): the target's, or the number that a person ordered.

    An order may go beyond a schedule, not beyond `max_workers` as well: one from another scaler,
    or that outlives a maximum which was lowered, is cut to what may run.
    """
    regular, order = bounds(target, now), order_at(memory, now)
    if order is None or order.replicas is None:
        return regular
    number = min(order.replicas, max(target.max_workers, regular.high))
    return Bounds(number, number, "", "")


def remember(observation: Observation, memory: Memory, target: Target, now: float) -> Memory:
    """`memory` with what is seen now added to its windows; nothing is decided."""
    memory = memory.as_of(now)
    bounds = bounds_in_force(memory, target, now)
    return looked_ahead(observation, memory, target, now, bounds)[0]


def looked_ahead(
    observation: Observation, memory: Memory, target: Target, now: float, bounds: Bounds
) -> tuple[Memory, Prospect | None]:
    """As `remember` by the `bounds` in force, with what is expected a horizon ahead; None while
    demand is unknown. The memory is one as of `now`."""
    waiting, in_flight = observation.waiting, observation.in_flight
    known_busy = busy_workers(observation, memory)
    if not (isinstance(waiting, Known) and isinstance(in_flight, Known)):
        return memory._replace(busy=known_busy), None
    load = Load.of(waiting.value, in_flight.value, value_of(observation.arrival_rate))
    tick = 0.0 if memory.at is None else min(now - memory.at, _LONGEST_TICK_S)
    age = min(max(waiting.age_s, in_flight.age_s, 0.0), LOOK_BACK_S)
    horizon = startup_of(observation, target) + tick + age
    high = bounds.high
    ahead = prospect(observation, load, memory.usual, target, high=high, horizon_s=horizon)
    # One more than any maximum, so that there is none which it does not exceed.
    wanted = ceil(min(ahead.wanted, MAX_REPLICAS + 1))
    fresh = memory.target is None or not memory.wanted
    if fresh and observation.fleet is not None:
        # With nothing remembered, the fleet that is found may have been needed a moment ago.
        wanted = max(wanted, observation.fleet.running - observation.fleet.unhealthy)
    if ahead.lasting > high:
        memory = _capped(memory, target, high, now, horizon)
    usual = memory.usual
    if _is_left_alone(observation, memory, now):
        usual = usual.seen(load, now, horizon)
    hours = memory.hours.add(now, load.demand)
    same_hour = hours.last == memory.hours.last
    memory = memory._replace(
        busy=known_busy,
        short_since=_short_since(observation, memory, now),
        wanted=push(memory.wanted, now, wanted, keep_idle_for(horizon)),
        usual=usual,
        hours=hours,
        outlook=memory.outlook if same_hour else forecast(hours, int(now // HOUR_S)),
    )
    return memory, ahead


def _is_left_alone(observation: Observation, memory: Memory, now: float) -> bool:
    """Whether jobs are done as fast as the scaler has it: demand that piles up because a person
    or the orchestrator holds the fleet says nothing of what is usual."""
    fleet = observation.fleet
    return order_at(memory, now) is None and (fleet is None or fleet.hold is None)


def moved(
    memory: Memory,
    number: int,
    target: Target,
    now: float,
    *,
    known_at: float | None = None,
    replaced: int = 0,
) -> Memory:
    """`memory` with the decided number in it, and how many run beside it in place of unhealthy
    ones; `known_at` where everything was known."""
    known_at = memory.known_at if known_at is None else known_at
    before = number if memory.target is None else memory.target
    if target.max_added_per_minute is not None or target.max_removed_per_minute is not None:
        # The number before held until now.
        memory = memory._replace(
            highs=push(memory.highs, now, max(number, before), MINUTE_S),
            lows=push(memory.lows, now, -min(number, before), MINUTE_S),
        )
    return memory._replace(
        at=now,
        target=number,
        replaced=replaced,
        changed_at=memory.changed_at if before == number else now,
        known_at=known_at,
    )


def rebuild(
    samples: Iterable[tuple[float, Observation]],
    target: Target,
    *,
    last: Memory | None = None,
    decided: Iterable[tuple[float, int]] = (),
    interval_s: float | None = None,
) -> Memory:
    """The memory that deciding at each (time, observation), oldest first, would have left.

    `last` is what was kept of an earlier time, if anything; what is older is passed by.
    `decided` are the numbers that were decided then, with their times, oldest first. Decisions
    were `interval_s` apart, also where only some of the moments are given; None where all are.
    """
    memory = last or Memory()
    since = -inf if memory.at is None else memory.at
    for at, seen in samples:
        if at > since:
            observation = believed(seen)
            if memory.at is not None and interval_s is not None:
                memory = memory._replace(at=at - interval_s)
            memory = remember(observation, memory, target, at)._replace(at=at)
            # Who has known nothing yet counts from the first look, as when deciding.
            if memory.known_at is None or unknown_signal(observation, target) is None:
                memory = memory._replace(known_at=at)
    seen_at = memory.at
    for at, number in decided:
        if at > since:
            memory = moved(memory, number, target, at, replaced=memory.replaced)
    return memory if seen_at is None else memory._replace(at=seen_at)


def unknown_signal(observation: Observation, target: Target) -> tuple[str, Unknown] | None:
    """The first signal that the target's rule cannot do without and that is unknown, by name."""
    if target.policy is Rule.RAW:
        query = dict(observation.extra).get("query", NOT_ASKED)
        return ("query", query) if isinstance(query, Unknown) else None
    for name in ("waiting",) if target.policy is Rule.PLAN else ("waiting", "in_flight"):
        signal = getattr(observation, name)
        if isinstance(signal, Unknown):
            return name, signal
    return None


def _capped(memory: Memory, target: Target, high: int, now: float, horizon_s: float) -> Memory:
    """`memory` with the maximum `high` exceeded at `now`: kept from the second time on."""
    before, again = memory.capped_at, memory.capped_again
    if before is None or now - before > horizon_s:
        again = before is not None and now - before <= LOOK_BACK_S
    memory = memory._replace(capped_at=now, capped_again=again)
    if not again:
        return memory
    return memory._replace(capped_until=now + keep_capped_for(target, horizon_s), capped_high=high)


def _short_since(observation: Observation, memory: Memory, now: float) -> float | None:
    waiting, idle, fleet = observation.waiting, observation.idle, observation.fleet
    if not (isinstance(waiting, Known) and isinstance(idle, Known) and fleet is not None):
        return memory.short_since
    if waiting.value <= 0 or idle.value > 0 or fleet.starting > 0:
        return None
    return now if memory.short_since is None else memory.short_since
