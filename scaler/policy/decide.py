"""How many workers: a pure function of what is seen, what is remembered, and the time.

Demand is jobs waiting plus jobs in progress. Wanted is demand, plus headroom for what arrives
while a worker starts, less a share of the jobs that end before it could help; and of that the
trailing maximum over a part of S, which keeps an idle worker while its restart would cost more.
Unknown is never zero: the last target holds. docs/policy.md has the reasoning and the evidence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import ceil, e, exp, inf, sqrt
from typing import NamedTuple

from scaler.policy.alternative_rules import plan_wants, raw_wants
from scaler.policy.decision import DOWN, HOLD, NONE, UP, Decision, Memory, Pause
from scaler.policy.forecast import HOUR_S, forecast
from scaler.policy.observation import Fleet, Known, Observation, Unknown
from scaler.policy.schedule import Bounds, bounds
from scaler.policy.target import Fallback, Rule, Target
from scaler.policy.trailing_maxima import peak, push

Proposals = tuple[tuple[str, float], ...]

_MINUTE_S = 60.0
# A loop that stood still says nothing about how long the next worker will be waited for.
_LONGEST_TICK_S = 60.0
_BURSTINESS = (1.0, 30.0)
# Arrivals are judged by their last ten minutes.
_LOOK_BACK_S = 600.0


class _Case(NamedTuple):
    """What one decision is about, once everything needed is known."""

    observation: Observation
    memory: Memory
    target: Target
    fleet: Fleet
    now: float


class _Held(NamedTuple):
    """Why no new number may be decided, and the bounds that hold all the same."""

    bound: str
    note: str
    limits: Bounds


def decide(
    observation: Observation, memory: Memory, target: Target, now: float
) -> tuple[Decision, Memory]:
    """The decision at `now` (epoch seconds), and the memory to hand in next time."""
    memory = remember(observation, memory, target, now)
    limits = bounds(target, now)
    held = _why_held(observation, memory, target, now)
    if held is not None:
        return _hold(_Held(*held, limits), observation, memory, target, now)
    seen = observation.fleet
    assert seen is not None  # noqa: S101 - _why_held has looked
    # Decided as if the unhealthy were not there; each is then one more to run.
    fleet = replace(seen, running=seen.running - seen.unhealthy) if seen.unhealthy else seen
    wanted, proposals = _wanted(_Case(observation, memory, target, fleet, now), limits.high)
    if memory.target is None:
        # The fleet that is found is what the first change is measured by.
        memory = _moved(memory, fleet.running, target, now)
    before = fleet.running if memory.target is None else memory.target
    case = _Case(observation, memory, target, fleet, now)
    number, bound = _limit(case, wanted, before)
    number, bound = _bound(number, bound, limits, min(memory.busy, fleet.running))
    total = max(number, min(number + seen.unhealthy, limits.high))
    if seen.hold is not None and total <= seen.running:
        return _hold(_Held("orchestrator", seen.hold, limits), observation, memory, target, now)
    if memory.replaced != total - number:
        memory = replace(memory, replaced=total - number)
    memory = _moved(memory, number, target, now, known_at=now)
    action = _action(total, seen.running, bound, wanted + total - number)
    idle = observation.idle
    may_leave = int(idle.value) if isinstance(idle, Known) else 0
    decision = Decision(
        now,
        target.name,
        total,
        action,
        proposals,
        bound,
        retire=max(0, min(seen.running - total, may_leave)),
        observation=observation,
        note="; ".join([*_unhealthy(seen, total - number), *_emergency(seen, memory, now)]),
        urgent=seen.hold is not None,
    )
    return decision, memory


def _unhealthy(fleet: Fleet, replaced: int) -> list[str]:
    if not fleet.unhealthy:
        return []
    room = "" if replaced == fleet.unhealthy else ", for more there is no room"
    return [f"{fleet.unhealthy} unhealthy and no capacity, {replaced} run in their place{room}"]


def _emergency(fleet: Fleet, memory: Memory, now: float) -> list[str]:
    if fleet.hold is None or memory.short_since is None:
        return []
    waited = f"jobs have waited for {now - memory.short_since:.0f} s and no worker is idle"
    return [f"emergency: {waited}, so this is done although {fleet.hold}"]


def remember(observation: Observation, memory: Memory, target: Target, now: float) -> Memory:
    """`memory` with what is seen now added to its windows; nothing is decided."""
    waiting, in_flight, busy = observation.waiting, observation.in_flight, observation.busy
    known_busy = int(busy.value) if isinstance(busy, Known) else memory.busy
    if not (isinstance(waiting, Known) and isinstance(in_flight, Known)):
        return replace(memory, busy=known_busy)
    demand = waiting.value + in_flight.value
    tick = 0.0 if memory.at is None else min(now - memory.at, _LONGEST_TICK_S)
    age = max(waiting.age_s, in_flight.age_s)
    horizon = startup_of(observation, target) + tick + age
    high = bounds(target, now).high
    # The nearer the maximum, the sooner somebody waits for whoever ends a job.
    spare = max(0.0, 1.0 - demand / high) if high else 0.0
    saved = spare * relief(observation, target, horizon)
    wanted = ceil(demand + headroom(observation, target, horizon) - saved)
    if memory.at is None and not memory.wanted and observation.fleet is not None:
        # With nothing remembered, the fleet that is found may have been needed a moment ago.
        wanted = max(wanted, observation.fleet.running - observation.fleet.unhealthy)
    if wanted > high:
        memory = _capped(memory, target, high, now, horizon)
    hours = memory.hours.add(now, demand)
    same_hour = hours.last == memory.hours.last
    return replace(
        memory,
        busy=known_busy,
        short_since=_short_since(observation, memory, now),
        wanted=push(memory.wanted, now, wanted, keep_idle_for(horizon)),
        hours=hours,
        outlook=memory.outlook if same_hour else forecast(hours, int(now // HOUR_S)),
    )


def _capped(memory: Memory, target: Target, high: int, now: float, horizon_s: float) -> Memory:
    """`memory` with the maximum `high` exceeded at `now`: kept from the second time on."""
    before, again = memory.capped_at, memory.capped_again
    if before is None or now - before > horizon_s:
        again = before is not None and now - before <= _LOOK_BACK_S
    memory = replace(memory, capped_at=now, capped_again=again)
    if not again:
        return memory
    return replace(memory, capped_until=now + keep_capped_for(target, horizon_s), capped_high=high)


def _short_since(observation: Observation, memory: Memory, now: float) -> float | None:
    waiting, idle, fleet = observation.waiting, observation.idle, observation.fleet
    if not (isinstance(waiting, Known) and isinstance(idle, Known) and fleet is not None):
        return memory.short_since
    if waiting.value <= 0 or idle.value > 0 or fleet.starting > 0:
        return None
    return now if memory.short_since is None else memory.short_since


def rebuild(
    samples: Iterable[tuple[float, Observation]],
    target: Target,
    *,
    last: Memory | None = None,
    decided: Iterable[tuple[float, int]] = (),
) -> Memory:
    """The memory that deciding at each (time, observation), oldest first, would have left.

    `last` is what was kept of an earlier time, if anything; what is older is passed by.
    `decided` are the numbers that were decided then, with their times, oldest first.
    """
    memory = last or Memory()
    since = -inf if memory.at is None else memory.at
    for at, observation in samples:
        if at > since:
            memory = replace(remember(observation, memory, target, at), at=at)
            if _unknown(observation, target) is None:
                memory = replace(memory, known_at=at)
    seen_at = memory.at
    for at, number in decided:
        if at > since:
            memory = _moved(memory, number, target, at)
    return memory if seen_at is None else replace(memory, at=seen_at)


def pause(memory: Memory, reason: str, until: float | None) -> Memory:
    """`memory` with scaling paused, until a time (epoch seconds) or until resumed."""
    return replace(memory, pause=Pause(reason, until))


def resume(memory: Memory) -> Memory:
    """`memory` with scaling going on."""
    return replace(memory, pause=None)


def startup_of(observation: Observation, target: Target) -> float:
    """S: the measured start-up in seconds, or the target's assumption until there is one."""
    signal = observation.startup
    return max(signal.value, 0.0) if isinstance(signal, Known) else target.startup_seconds


def keep_idle_for(horizon_s: float) -> float:
    """τ: seconds of idling after which a worker is let go.

    Stopping one and having it again costs the horizon h: start-up, tick and age of the data.
    Not knowing the future, one does best to idle for a random time of mean h/(e−1) = 0.58·h
    (Karlin, Manasse, McGeoch and Owicki, "Competitive randomized algorithms for non-uniform
    problems"). The mean serves as well here, as replays of real traces show; docs/policy.md.
    """
    return horizon_s / (e - 1.0)


def keep_capped_for(target: Target, horizon_s: float) -> float:
    """Seconds for which the maximum is kept that demand keeps exceeding: (1 + w)·h, to 10 min.

    What the maximum cuts off can't be bought later, so the next burst waits for each worker
    that has to be started anew: a restart costs h paid and w·h waited. Once exceeded says
    nothing of a next burst; again within the time that arrivals are looked back at does.
    """
    return min((1.0 + target.weights.wait) * horizon_s, _LOOK_BACK_S)


def headroom(observation: Observation, target: Target, horizon_s: float) -> float:
    """Workers for what arrives within the horizon beyond the mean: z·sqrt(IDC·λ·E[min(d, h)]).

    Square-root staffing, widened by the burstiness; durations taken as exponential with the
    measured mean, and as endless while there is no mean. 0 while the rate is unknown.
    """
    rate = observation.arrival_rate
    z = target.weights.headroom
    if z <= 0 or not isinstance(rate, Known) or rate.value <= 0:
        return 0.0
    mean, spread = observation.mean_duration, observation.burstiness
    stays = horizon_s
    if isinstance(mean, Known) and mean.value > 0:
        stays = mean.value * (1.0 - exp(-horizon_s / mean.value))
    low, high = _BURSTINESS
    dispersion = min(max(spread.value, low), high) if isinstance(spread, Known) else low
    return z * sqrt(dispersion * rate.value * stays)


def relief(observation: Observation, target: Target, horizon_s: float) -> float:
    """Workers saved: a share of the jobs that end before a new worker could take one.

    The dearer waiting is, the smaller the share: 1/(1 + w). 0 while a mean is unknown.
    """
    in_flight, mean = observation.in_flight, observation.mean_duration
    if not (isinstance(in_flight, Known) and isinstance(mean, Known)) or mean.value <= 0:
        return 0.0
    ending = in_flight.value * (1.0 - exp(-horizon_s / mean.value))
    return target.weights.relief * ending


def _wanted(case: _Case, high: int) -> tuple[int, Proposals]:
    observation, memory, target, fleet, now = case
    if target.policy is Rule.PLAN:
        number = plan_wants(observation, fleet.running, target.max_workers)
        return number, (("plan's rule", number),)
    if target.policy is Rule.RAW:
        number = raw_wants(observation, target.per_worker)
        return number, (("query / per worker", number),)
    wanted = memory.wanted[0][1]
    proposals: Proposals = (("wanted now", memory.wanted[-1][1]), ("wanted lately", wanted))
    kept = min(memory.capped_high, high)
    if memory.capped_until is not None and now <= memory.capped_until and wanted < kept:
        wanted = kept
        proposals = (*proposals, ("kept after the maximum was short", kept))
    outlook = memory.outlook
    if target.forecast and outlook is not None and outlook.trusted:
        floor = int(outlook.expected or 0.0)
        wanted = max(wanted, floor)
        proposals = (*proposals, ("forecast floor", floor))
    return ceil(wanted), proposals


def _limit(case: _Case, wanted: int, before: int) -> tuple[int, str]:
    """Apply the operator's thresholds, cooldown and rate limits to a change."""
    if wanted == before:
        return wanted, ""
    gate = _gate(case, growing=wanted > before)
    if gate:
        return before, gate
    target, memory, since = case.target, case.memory, case.now - _MINUTE_S
    added, removed = target.max_added_per_minute, target.max_removed_per_minute
    if added is not None:
        lowest = peak(memory.lows, since)
        most = added + (before if lowest is None else int(-lowest))
        if wanted > most:
            return most, "max_added_per_minute"
    if removed is not None:
        highest = peak(memory.highs, since)
        least = (before if highest is None else int(highest)) - removed
        if wanted < least:
            return least, "max_removed_per_minute"
    return wanted, ""


def _gate(case: _Case, *, growing: bool) -> str:
    """Which of the plan's knobs forbids a change in that direction, "" for none."""
    up, down, cooldown = case.target.gates
    changed_at = case.memory.changed_at
    if cooldown is not None and changed_at is not None and case.now - changed_at < cooldown:
        return "cooldown_period"
    waiting = case.observation.waiting
    if not isinstance(waiting, Known):
        return ""
    if growing and up is not None and waiting.value <= case.fleet.running * up:
        return "scale_up_threshold"
    if not growing and down is not None and waiting.value >= case.fleet.running * down:
        return "scale_down_threshold"
    return ""


def _bound(number: int, bound: str, limits: Bounds, busy: int) -> tuple[int, str]:
    """`number` within the bounds, and never below the workers that are busy."""
    if number < limits.low:
        number = limits.low
        bound = f"schedule {limits.low_by}" if limits.low_by else "min_workers"
    if number > limits.high:
        number = limits.high
        bound = f"schedule {limits.high_by}" if limits.high_by else "max_workers"
    if number < busy:
        return busy, "busy workers"
    return number, bound


def _action(number: int, running: int, bound: str, wanted: int) -> str:
    if number > running:
        return UP
    if number < running:
        return DOWN
    return HOLD if bound and wanted != number else NONE


def _moved(
    memory: Memory, number: int, target: Target, now: float, *, known_at: float | None = None
) -> Memory:
    """`memory` with the decided number in it; `known_at` where everything was known."""
    known_at = memory.known_at if known_at is None else known_at
    before = number if memory.target is None else memory.target
    changed = memory.changed_at if before == number else now
    if target.max_added_per_minute is None and target.max_removed_per_minute is None:
        return replace(memory, at=now, target=number, changed_at=changed, known_at=known_at)
    return replace(
        memory,
        at=now,
        target=number,
        changed_at=changed,
        known_at=known_at,
        # The number before held until now.
        highs=push(memory.highs, now, max(number, before), _MINUTE_S),
        lows=push(memory.lows, now, -min(number, before), _MINUTE_S),
    )


def _unknown(observation: Observation, target: Target) -> str | None:
    """Which signal that the policy cannot do without is unknown, and why."""
    if target.policy is Rule.RAW:
        named = dict(observation.extra)
        needed = [("query", named.get("query", Unknown("it was not asked", "")))]
    elif target.policy is Rule.PLAN:
        needed = [("waiting", observation.waiting)]
    else:
        needed = [("waiting", observation.waiting), ("in_flight", observation.in_flight)]
    for name, signal in needed:
        if isinstance(signal, Unknown):
            return f"{name} is unknown ({signal.reason})"
    return None


def _why_held(
    observation: Observation, memory: Memory, target: Target, now: float
) -> tuple[str, str] | None:
    """(bound, note) when no new number may be decided, else None."""
    paused = memory.pause
    if paused is not None and (paused.until is None or now < paused.until):
        return "pause", f"paused: {paused.reason}"
    unknown = _unknown(observation, target)
    if unknown is not None:
        return "unknown", unknown
    fleet = observation.fleet
    if fleet is None:
        return "unknown", f"the fleet is unknown ({observation.fleet_error or 'no answer'})"
    if fleet.hold is not None and not _is_emergency(fleet, memory, target, now):
        return "orchestrator", fleet.hold
    return None


def _is_emergency(fleet: Fleet, memory: Memory, target: Target, now: float) -> bool:
    """Whether jobs have waited for too long to leave the fleet alone any longer."""
    patience, since = target.emergency_after, memory.short_since
    if not fleet.hold_yields or patience is None or since is None:
        return False
    return now - since >= patience


def _hold(
    held: _Held, observation: Observation, memory: Memory, target: Target, now: float
) -> tuple[Decision, Memory]:
    """Keep the last target: raised by bounds and busy workers, never lowered."""
    bound, note, limits = held
    fleet = observation.fleet
    number = memory.target
    if number is None:
        number = limits.low if fleet is None else fleet.running
    if bound == "unknown":
        since = memory.known_at
        if since is None:
            memory = replace(memory, known_at=now)
        elif now - since > target.fallback_after:
            number, note = _fallback(number, note, target, now - since)
    kept = number + memory.replaced if number == memory.target else number
    if bound != "pause":
        number = max(number, limits.low)
    # Busy workers that are leaving count in `busy` but not in what may be kept.
    standing = memory.target or 0 if fleet is None else fleet.running
    number = max(number, min(memory.busy, standing))
    total = max(number, kept)
    decision = Decision(now, target.name, total, HOLD, (), bound, 0, observation, note)
    return decision, _moved(replace(memory, replaced=total - number), number, target, now)


def _fallback(number: int, note: str, target: Target, age_s: float) -> tuple[int, str]:
    note = f"{note} for {age_s:.0f} s, fallback {target.fallback}"
    other = target.fallback_replicas
    if target.fallback is Fallback.HOLD or other is None:
        return number, note
    if target.fallback is Fallback.HIGHER:
        return max(number, other), note
    return other, note
