"""From a trigger and what is known to what is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common.bounded import a_few
from common.errors import InvalidInputError, shorten
from scaler.external.decisions import Decisions
from scaler.external.errors import UnknownValueError
from scaler.external.metadata import OnUnknown, Trigger
from scaler.external.upstream import KnownValue, Missing, Outcome


@dataclass(frozen=True, slots=True)
class Answer:
    """What is true of a trigger now."""

    value: float
    active: bool
    age_s: float
    """How old the oldest part of it is."""
    reason: str
    """Where it comes from, in a sentence."""


def of_target(trigger: Trigger, decisions: Decisions, *, now: float, max_age_s: float) -> Answer:
    """The decision for a trigger with `target`; `now` in monotonic seconds.

    Raises InvalidInputError when there is no such target, UnknownValueError when there is no
    decision, it is too old, or it has no number because none was ever known.
    """
    name = trigger.target or ""
    check_target(name, decisions)
    decided = decisions.latest(name)
    if decided is None:
        raise UnknownValueError(f"nothing is decided for {name} yet")
    age = max(0.0, now - decided.made_at)
    if age > max_age_s:
        raise UnknownValueError(
            f"the last decision for {name} is {age:.0f} s old, "
            f"more than the {max_age_s:g} s allowed"
        )
    if decided.replicas is None:
        raise UnknownValueError(f"no number is known for {name} yet: {decided.reason}")
    active = decided.active or decided.replicas > 0
    return Answer(float(decided.replicas), active, age, decided.reason)


def check_target(name: str, decisions: Decisions) -> None:
    """Raises InvalidInputError when the configuration has no target `name`."""
    if not decisions.has(name):
        known = a_few(sorted(decisions.names()))
        raise InvalidInputError("target", name, f"a configured target: {known}")


def of_queries(trigger: Trigger, outcomes: Mapping[str, Outcome], *, now: float) -> Answer:
    """The answer to a trigger with `query` or `queue`, from the outcomes of its value_queries;
    `now` in monotonic seconds.

    Raises UnknownValueError when a value is unknown and the trigger says so, or the value held
    is too old.
    """
    samples = []
    held: list[str] = []
    for query in trigger.value_queries:
        outcome = outcomes[query]
        if isinstance(outcome, KnownValue):
            samples.append(outcome)
            continue
        if trigger.on_unknown is OnUnknown.VALUE and trigger.unknown_value is not None:
            return Answer(
                trigger.unknown_value, True, 0.0, f"unknown ({outcome.reason}): unknownValue"
            )
        samples.append(_held(trigger, query, outcome, now))
        held.append(outcome.reason)
    age = max(0.0, now - min(sample.asked_at for sample in samples))
    value, active, reason = _combine(trigger, [sample.value for sample in samples])
    if held:
        reason = f"held for {age:.0f} s, because {held[0]}: {reason}"
    return Answer(value, active, age, reason)


def _held(trigger: Trigger, query: str, missing: Missing, now: float) -> KnownValue:
    unknown = f"{missing.reason} (query {shorten(query)})"
    if trigger.on_unknown is not OnUnknown.HOLD:
        raise UnknownValueError(unknown)
    if missing.last is None:
        raise UnknownValueError(f"{unknown}; no earlier value to hold")
    age = now - missing.last.asked_at
    if age > trigger.hold_seconds:
        raise UnknownValueError(
            f"{unknown}; the last value is {age:.0f} s old, more than holdSeconds "
            f"{trigger.hold_seconds:g}"
        )
    return missing.last


def _combine(trigger: Trigger, values: list[float]) -> tuple[float, bool, str]:
    first, in_flight = values[0], values[1] if len(values) > 1 else 0.0
    if trigger.queue is not None:
        wanted = max(in_flight, first / trigger.per_worker)
        reason = f"{first:g} jobs, {in_flight:g} of them in progress: {wanted:g} workers"
        return wanted, first > 0 or in_flight > 0, reason
    active = first > trigger.activation_threshold or in_flight > 0
    reason = f"{first:g}" + (f", in flight {in_flight:g}" if len(values) > 1 else "")
    return first, active, reason
