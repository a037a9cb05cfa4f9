"""All sentences about a decision: why there are so many workers, and why not more. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scaler.policy.decision import Action, Applied, Decision, ProposalKind
from scaler.policy.observation import Fleet, Known, Signal, Unknown, value_of
from scaler.policy.orders import Order
from scaler.policy.schedule import Bounds
from scaler.policy.target import Target

_SHOWN = 240

# Notes: what `decide` has to say beside the numbers


def joined(*notes: str) -> str:
    """The notes that there are."""
    return "; ".join(filter(None, notes))


def paused(order: Order) -> str:
    """A pause is in force."""
    return f"paused: {order.reason}"


def overridden(order: Order | None, most: int) -> str:
    """An override is in force, of which the maximum leaves `most`; "" where none is."""
    if order is None or order.replicas is None:
        return ""
    cut = f", of which the maximum allows {most}" if order.replicas > most else ""
    return f"override to {order.replicas}{cut}: {order.reason}"


def unknown_signal(name: str, signal: Unknown) -> str:
    """A signal that is needed is unknown."""
    return f"{name} is unknown ({signal.reason})"


def unknown_fleet(error: str) -> str:
    """The orchestrator did not say what runs."""
    return f"the fleet is unknown ({error or 'no answer'})"


def fallback(note: str, target: Target, age_s: float) -> str:
    """What `note` says has been so for too long."""
    return f"{note} for {age_s:.0f} s, fallback {target.fallback}"


def above_ceiling(number: int, bounds: Bounds, standing: int) -> str:
    """The `number` that was to be held, fallen back to or ordered is more than may be told."""
    run = f" or the {standing} that stay" if standing > bounds.high else ""
    by = f", by the schedule {bounds.high_by!r}" if bounds.high_by else ""
    return f"{number} is more than the maximum of {bounds.high}{by}{run}"


def unhealthy(fleet: Fleet, replaced: int) -> str:
    """How many do not count, and how many run in their place; "" where all do."""
    if not fleet.unhealthy:
        return ""
    room = "" if replaced == fleet.unhealthy else ", for more there is no room"
    return f"{fleet.unhealthy} unhealthy and no capacity, {replaced} run in their place{room}"


def emergency(fleet: Fleet, short_since: float | None, now: float) -> str:
    """Why something is done although the fleet is held, "" where it is not."""
    if fleet.hold is None or short_since is None:
        return ""
    waited = f"jobs have waited for {now - short_since:.0f} s and no worker is idle"
    return f"emergency: {waited}, so this is done although {fleet.hold}"


# One line: of the log, the history and KEDA


def line(decision: Decision, applied: str = "") -> str:
    """What was decided and why, and what was done, in one line."""
    return reason(decision) + (f" — {applied}" if applied else "")


def reason(decision: Decision) -> str:
    """What was decided and why, in one sentence with the numbers."""
    words = [f"{name} {value:.3g}" for name, value in decision.proposals]
    steps = f"; {', '.join(words)}" if words else ""
    limit = f"; limited by {decision.bound}" if decision.limit else ""
    note = f"; {decision.note}" if decision.note else ""
    return f"{_verb(decision)}: {_seen(decision)}{steps}{limit}{note}"


def record(decision: Decision, applied: Applied) -> dict[str, Any]:
    """A decision as it is kept and shown: its data with its sentences."""
    return {**decision.to_json(), "reason": reason(decision), "applied": done(applied)}


def done(applied: Applied) -> str:
    """What was done about a decision, "" for nothing."""
    parts = [f"in the way: {applied.obstacle}"] if applied.obstacle else []
    parts += ["stands by, as it does not lead"] if applied.standby else []
    if applied.taken_back:
        parts.append(f"no longer asked to leave: {', '.join(applied.taken_back)}")
    if applied.asked:
        parts.append(f"asked to leave: {', '.join(applied.asked)}")
    parts += applied.changes
    parts += [f"not applied: {applied.failure}"] if applied.failure else []
    return "; ".join(parts)


def _verb(decision: Decision) -> str:
    fleet = decision.observation.fleet
    before = "?" if fleet is None else fleet.running
    if decision.action in (Action.UP, Action.DOWN):
        leaving = f", {decision.retire} idle to leave now" if decision.action is Action.DOWN else ""
        return f"{decision.action} from {before} to {decision.replicas}{leaving}"
    if decision.replicas is None:
        return "no number is given, as none was ever known"
    return f"{'hold' if decision.action is Action.HOLD else 'stay'} at {decision.replicas}"


def _seen(decision: Decision) -> str:
    seen = decision.observation
    parts = [f"{_number(seen.waiting)} waiting and {_number(seen.in_flight)} in progress"]
    if seen.fleet is not None and seen.fleet.starting:
        parts.append(f"{seen.fleet.starting} of {seen.fleet.running} workers still starting")
    if seen.fleet is not None:
        if seen.fleet.draining and not seen.fleet.pools:
            parts.append(f"{seen.fleet.draining} more leaving")
        parts += map(str, seen.fleet.pools)
    return ", ".join(parts)


def _number(signal: Signal) -> str:
    return f"{signal.value:g}" if isinstance(signal, Known) else "unknown"


# A paragraph: of the page and of `explain`


def explain(decision: Decision, applied: str) -> str:
    """The true reason of a decision; `applied` says what was done about it."""
    sentences = [_now(decision), _demand(decision), _limit(decision)]
    sentences += [_fleet(decision), _done(applied)]
    return " ".join(sentence for sentence in sentences if sentence)


def facts(decision: Decision) -> dict[str, object]:
    """What the templates of a `Limit` are filled in with."""
    number = decision.replicas
    none = "no number is given, as none was ever known"
    return {
        "kept": none if number is None else workers(number),
        "held": none if number is None else f"holding {workers(number)}",
        "at": f"; {none}" if number is None else f" at {workers(number)}",
        "note": decision.note,
        "low": decision.bounds.low,
        "high": decision.bounds.high,
        "window": decision.window,
        "unseen": "Signals are" if decision.observation.fleet else "The fleet is",
    }


def _now(decision: Decision) -> str:
    fleet, wanted = decision.observation.fleet, decision.replicas
    if fleet is None:
        why = decision.observation.fleet_error or "it did not answer"
        said = "No number was ever known" if wanted is None else f"{workers(wanted)} wanted"
        return f"{said}; how many run is unknown, as the orchestrator says: {why}."
    if wanted is None:
        return f"No number was ever known; {workers(fleet.running)} run."
    if decision.action is Action.UP:
        return f"{workers(wanted)} wanted where {fleet.running} ran."
    if decision.action is Action.DOWN:
        leave = "none is idle to leave yet" if not decision.retire else "idle ones leave first"
        return f"{workers(wanted)} wanted where {fleet.running} ran; {leave}."
    if decision.action is Action.HOLD:
        run = "" if fleet.running == wanted else f", of which {fleet.running} run"
        return f"Held at {workers(wanted)}{run}."
    return f"{workers(wanted)}, as wanted."


def _demand(decision: Decision) -> str:
    if decision.limit is not None and decision.limit.row.holds:
        return ""
    seen = decision.observation
    waiting, busy = value_of(seen.waiting), value_of(seen.in_flight)
    if waiting is None or busy is None:
        known = "Demand is not fully known"
    else:
        known = f"Demand was {_jobs(waiting + busy)}: {waiting:g} waiting and {busy:g} in progress"
        known += _returning(waiting + busy, dict(decision.proposals))
    return f"{known}{_proposed(decision)}."


def _returning(demand: float, numbers: Mapping[str, float]) -> str:
    """What of the present demand is not counted on, since it goes back to what is usual."""
    usual, expected = numbers.get(ProposalKind.USUAL), numbers.get(ProposalKind.EXPECTED)
    # Less than half a job is no worker.
    if usual is None or expected is None or abs(demand - expected) < 0.5:
        return ""
    if demand > usual:
        of = f"{expected - usual:.3g} of the {demand - usual:.3g} above the mean of {usual:.3g}"
        return f"; bursts come back: {of} are counted on"
    of = f"{expected - demand:.3g} of the {usual - demand:.3g} below the mean of {usual:.3g}"
    return f"; bursts come back: {of} are expected"


def _proposed(decision: Decision) -> str:
    numbers = {
        name: value
        for name, value in decision.proposals
        if name not in (ProposalKind.USUAL, ProposalKind.EXPECTED)
    }
    now, lately = numbers.get(ProposalKind.NOW), numbers.get(ProposalKind.LATELY)
    if now is None or lately is None:
        return "".join(f"; {name} gives {value:g}" for name, value in numbers.items())
    said = f", for which {workers(now)} would do now"
    if lately > now:
        said += (
            f"; lately it was {lately:g}, and an idle worker is kept as long as starting"
            " another would cost"
        )
    kept = numbers.get(ProposalKind.KEPT)
    if kept is not None and kept > lately:
        said += f"; {kept:g} stay for a while because the maximum was too low for demand lately"
    floor = numbers.get(ProposalKind.FORECAST)
    if floor is not None and floor >= lately:
        said += f"; the forecast from the same hour of earlier days asks for at least {floor:g}"
    return said


def _limit(decision: Decision) -> str:
    limit = decision.limit
    return "" if limit is None else limit.row.sentence.format_map(facts(decision))


def _fleet(decision: Decision) -> str:
    fleet = decision.observation.fleet
    if fleet is None:
        return ""
    parts = []
    if fleet.starting:
        parts.append(f"{workers(fleet.starting)} still starting and counted as on the way")
    if fleet.draining:
        whose = "its job ends" if fleet.draining == 1 else "their jobs end"
        parts.append(f"{workers(fleet.draining)} leaving once {whose}")
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


def workers(count: float) -> str:
    """So many workers."""
    return f"{count:g} {'worker' if count == 1 else 'workers'}"


def _jobs(count: float) -> str:
    return f"{count:g} {'job' if count == 1 else 'jobs'}"
