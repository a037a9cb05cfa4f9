"""Why there are as many workers as there are, and why not more: a paragraph with numbers. Pure."""

from __future__ import annotations

from scaler.policy.decision import DOWN, HOLD, UP, Decision
from scaler.policy.observation import value_of
from scaler.policy.target import Rule, Target

_SHOWN = 240
_LIMITS = {
    "cooldown_period": "the cooldown since the last change has not passed",
    "scale_up_threshold": "fewer jobs wait than the scale-up threshold asks for",
    "scale_down_threshold": "more jobs wait than the scale-down threshold allows",
    "max_added_per_minute": "no more may be added within a minute",
    "max_removed_per_minute": "no more may be removed within a minute",
}


def explain(decision: Decision, applied: str, target: Target) -> str:
    """The true reason of a decision about `target`; `applied` says what was done about it."""
    sentences = [_now(decision), _demand(decision, target), _limit(decision, target)]
    sentences += [_fleet(decision), _done(applied)]
    return " ".join(sentence for sentence in sentences if sentence)


def _now(decision: Decision) -> str:
    fleet, wanted = decision.observation.fleet, decision.replicas
    if fleet is None:
        why = decision.observation.fleet_error or "it did not answer"
        return (
            f"{_workers(wanted)} wanted; how many run is unknown, as the orchestrator says: {why}."
        )
    if decision.action == UP:
        return f"{_workers(wanted)} wanted where {fleet.running} ran."
    if decision.action == DOWN:
        leave = "none is idle to leave yet" if not decision.retire else "idle ones leave first"
        return f"{_workers(wanted)} wanted where {fleet.running} ran; {leave}."
    if decision.action == HOLD:
        run = "" if fleet.running == wanted else f", of which {fleet.running} run"
        return f"Held at {_workers(wanted)}{run}."
    return f"{_workers(wanted)}, as wanted."


def _demand(decision: Decision, target: Target) -> str:
    if decision.bound in ("pause", "unknown", "orchestrator"):
        return ""
    seen = decision.observation
    waiting, busy = value_of(seen.waiting), value_of(seen.in_flight)
    if waiting is None or busy is None:
        facts = "Demand is not fully known"
    else:
        facts = f"Demand was {_jobs(waiting + busy)}: {waiting:g} waiting and {busy:g} in progress"
    return f"{facts}{_proposed(decision, target)}."


def _proposed(decision: Decision, target: Target) -> str:
    numbers = dict(decision.proposals)
    if target.policy is not Rule.OURS:
        return "".join(f"; {name} gives {value:g}" for name, value in numbers.items())
    now, lately = numbers.get("wanted now"), numbers.get("wanted lately")
    said = ""
    if now is not None:
        said += f", for which {_workers(now)} would do now"
    if now is not None and lately is not None and lately > now:
        said += (
            f"; lately it was {lately:g}, and an idle worker is kept as long as starting"
            " another would cost"
        )
    kept = numbers.get("kept after the maximum was short")
    if kept is not None and kept > (lately or 0):
        said += f"; {kept:g} stay for a while because the maximum was too low for demand lately"
    floor = numbers.get("forecast floor")
    if floor is not None and floor >= (lately or 0):
        said += f"; the forecast from the same hour of earlier days asks for at least {floor:g}"
    return said


def _limit(decision: Decision, target: Target) -> str:
    bound, note = decision.bound, decision.note
    kept = _workers(decision.replicas)
    named = {
        "pause": f"Scaling is {note}. Nothing is changed until it is resumed or ends by itself.",
        "unknown": f"How many are needed is unknown, as {note}. Unknown is not zero: {kept}.",
        "orchestrator": f"Nothing may be changed now: {note}.",
        "override": f"A person ordered this number ({note}).",
        "min_workers": f"Fewer would do; min_workers is {target.min_workers}.",
        "max_workers": (
            f"Why not more: max_workers is {target.max_workers}, so the queue drains at the"
            " maximum."
        ),
        "busy workers": "No busy worker is ever stopped, so as many stay as are busy.",
    }
    if bound.startswith("schedule "):
        return f"The schedule {bound.removeprefix('schedule ')!r} is open and sets this bound."
    if bound in _LIMITS:
        return f"Why not otherwise: {_LIMITS[bound]}."
    return named.get(bound, "")


def _fleet(decision: Decision) -> str:
    fleet = decision.observation.fleet
    if fleet is None:
        return ""
    parts = []
    if fleet.starting:
        parts.append(f"{_workers(fleet.starting)} still starting and counted as on the way")
    if fleet.draining:
        whose = "its job ends" if fleet.draining == 1 else "their jobs end"
        parts.append(f"{_workers(fleet.draining)} leaving once {whose}")
    parts += [", ".join(map(str, fleet.pools))] if fleet.pools else []
    said = f"{'; '.join(parts)}." if parts else ""
    if fleet.obstacle:
        said = f"{said} Workers do not start: {fleet.obstacle}.".strip()
    return said


def _done(applied: str) -> str:
    if not applied:
        return ""
    # A hundred workers that were asked to leave are no paragraph; the record has them all.
    if len(applied) <= _SHOWN:
        return f"Done: {applied}."
    return f"Done: {applied[:_SHOWN].rpartition(',')[0]} …"


def _workers(count: float) -> str:
    return f"{count:g} {'worker' if count == 1 else 'workers'}"


def _jobs(count: float) -> str:
    return f"{count:g} {'job' if count == 1 else 'jobs'}"
