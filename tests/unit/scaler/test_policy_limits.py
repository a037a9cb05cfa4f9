"""Each limit where it binds: its sentence, the page's verdict, and what an override replaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from scaler.loop.controller import Cycle
from scaler.policy.decide import decide
from scaler.policy.decision import Applied, Decision
from scaler.policy.explain import explain
from scaler.policy.limits import Limit, bound_of, limit_of
from scaler.policy.memory import Memory, apply_order
from scaler.policy.observation import Fleet, Known, Observation, Unknown
from scaler.policy.orders import Order, OrderKind
from scaler.policy.schedule import bounds
from scaler.policy.target import Schedule, Target
from scaler.web.verdict import verdict

NOW = 1_700_000_000.0
UNKNOWN = Unknown("no sample", "q")
RUNNING = 4
OVERRIDE = Order(
    at=NOW, order=OrderKind.OVERRIDE, reason="a show", by="me", until=NOW + 60, replicas=RUNNING
)
PAUSE = Order(at=NOW, order=OrderKind.PAUSE, reason="a deploy", by="me")

STEADY = Memory(target=RUNNING, at=NOW - 1, changed_at=NOW - 1, wanted=((NOW - 1, 0),))


def seen(waiting: float | None, in_flight: float, hold: str | None = None) -> Observation:
    def known(value: float) -> Known:
        return Known(value, 0.0, "q")

    return Observation(
        waiting=UNKNOWN if waiting is None else known(waiting),
        in_flight=known(in_flight),
        idle=known(RUNNING - in_flight),
        arrival_rate=UNKNOWN,
        burstiness=UNKNOWN,
        mean_duration=UNKNOWN,
        startup=known(10.0),
        fleet=Fleet(RUNNING, RUNNING, hold=hold),
    )


def always(**bounds: int) -> dict[str, object]:
    day = {"name": "day", "start": "* * * * *", "end": "0 0 1 1 *", **bounds}
    return {"schedules": (Schedule.model_validate(day),)}


@dataclass(frozen=True)
class Situation:
    """Where a limit binds, and what follows."""

    observation: Observation
    words: str
    """Of the explanation."""
    verdict: tuple[str, str]
    knobs: Mapping[str, object] = field(default_factory=dict)
    memory: Memory = STEADY
    order: Order | None = None
    under_override: Limit = Limit.OVERRIDE
    """What is named where a person has ordered a number as well."""
    demand: bool = True
    """Whether the explanation speaks of demand."""


KEEPS_UP = ("good", "Keeping up")
IDLE = ("good", "Nothing to do")
BEHIND = ("warning", "Behind: 9 jobs wait")
LOWERED = STEADY._replace(lows=((NOW - 1, -RUNNING),))
RAISED = STEADY._replace(highs=((NOW - 1, RUNNING),))
SITUATIONS = {
    Limit.PAUSE: Situation(
        seen(9, 0),
        "Scaling is paused: a deploy. Nothing is changed until it is resumed or ends by itself.",
        ("paused", "Paused at 4 workers"),
        order=PAUSE,
        demand=False,
    ),
    Limit.OVERRIDE: Situation(
        seen(9, 0),
        "A person ordered this number (override to 4: a show).",
        ("paused", "Overridden to 4 workers"),
        order=OVERRIDE,
    ),
    Limit.UNKNOWN: Situation(
        seen(None, 0),
        "How many are needed is unknown, as waiting is unknown (no sample). "
        "Unknown is not zero: 4 workers.",
        ("bad", "Signals are unknown: holding 4 workers"),
        under_override=Limit.UNKNOWN,
        demand=False,
    ),
    Limit.ORCHESTRATOR: Situation(
        seen(9, 0, hold="a roll-out is running"),
        "Nothing may be changed now: a roll-out is running.",
        ("warning", "Held: a roll-out is running"),
        under_override=Limit.ORCHESTRATOR,
        demand=False,
    ),
    Limit.BUSY: Situation(
        seen(0, 4),
        "No busy worker is ever stopped, so as many stay as are busy.",
        KEEPS_UP,
        {"max_workers": 2},
        under_override=Limit.BUSY,
    ),
    Limit.MIN: Situation(seen(0, 0), "Fewer would do; min_workers is 6.", IDLE, {"min_workers": 6}),
    Limit.MAX: Situation(
        seen(9, 0),
        "Why not more: max_workers is 7, so the queue drains at the maximum.",
        ("warning", "At the maximum of 7: 9 jobs wait"),
        {"max_workers": 7},
    ),
    Limit.SCHEDULE: Situation(
        seen(0, 0), "The schedule 'day' is open and sets this bound.", IDLE, always(min_workers=6)
    ),
    Limit.COOLDOWN: Situation(
        seen(9, 0),
        "Why not otherwise: the cooldown since the last change has not passed.",
        BEHIND,
        {"cooldown_period": 60},
    ),
    Limit.UP_THRESHOLD: Situation(
        seen(9, 0),
        "Why not otherwise: fewer jobs wait than the scale-up threshold asks for.",
        BEHIND,
        {"scale_up_threshold": 3},
    ),
    Limit.DOWN_THRESHOLD: Situation(
        seen(1, 0),
        "Why not otherwise: more jobs wait than the scale-down threshold allows.",
        KEEPS_UP,
        {"scale_down_threshold": 0.1},
    ),
    Limit.ADDED: Situation(
        seen(9, 0),
        "Why not otherwise: no more may be added within a minute.",
        ("busy", "Growing to 5 workers"),
        {"max_added_per_minute": 1},
        LOWERED,
    ),
    Limit.REMOVED: Situation(
        seen(0, 0),
        "Why not otherwise: no more may be removed within a minute.",
        IDLE,
        {"max_removed_per_minute": 1},
        RAISED,
    ),
}


def decided(situation: Situation, order: Order | None) -> tuple[Decision, Memory, Target]:
    target = Target.model_validate({"max_workers": 30, **situation.knobs})
    memory = situation.memory if order is None else apply_order(situation.memory, order)
    return *decide(situation.observation, memory, target, NOW), target


def of(limit: Limit) -> Situation:
    assert limit in SITUATIONS, f"give {limit} a situation in which it binds, in {__file__}"
    return SITUATIONS[limit]


@pytest.mark.parametrize("limit", Limit)
def test_it_binds_and_the_explanation_says_so(limit: Limit) -> None:
    situation = of(limit)
    decision, _, _ = decided(situation, situation.order)
    assert decision.limit is limit
    text = explain(decision, "")
    assert situation.words in text
    assert ("Demand" in text) is situation.demand


@pytest.mark.parametrize("limit", Limit)
def test_the_pages_verdict(limit: Limit) -> None:
    situation = of(limit)
    decision, memory, target = decided(situation, situation.order)
    shown = verdict(Cycle(decision, Applied()), memory, bounds(target, NOW))
    assert (shown.level, shown.text) == situation.verdict
    assert (shown.since is not None) == (limit is Limit.UNKNOWN)


@pytest.mark.parametrize("limit", [each for each in Limit if each is not Limit.PAUSE])
def test_what_an_override_replaces(limit: Limit) -> None:
    """A pause and an override replace each other as orders."""
    situation = of(limit)
    decision, memory, target = decided(situation, OVERRIDE)
    assert decision.limit is situation.under_override
    assert decision.replicas == RUNNING
    assert "override to 4" in decision.note
    assert ": a show" in decision.note
    if decision.limit is Limit.OVERRIDE:
        shown = verdict(Cycle(decision, Applied()), memory, bounds(target, NOW))
        assert shown.text == "Overridden to 4 workers"


def test_more_busy_workers_than_were_ordered_are_named_even_so() -> None:
    order = OVERRIDE.model_copy(update={"replicas": 1})
    decision, _, _ = decided(of(Limit.BUSY), order)
    assert (decision.limit, decision.replicas) == (Limit.BUSY, RUNNING)


@pytest.mark.parametrize("limit", Limit)
def test_its_word_is_read_back(limit: Limit) -> None:
    window = "of the day" if limit is Limit.SCHEDULE else ""
    assert limit_of(bound_of(limit, window)) == (limit, window)


def test_no_limit_and_one_of_another_version() -> None:
    assert limit_of(bound_of(None, "")) == (None, "")
    assert limit_of("a later invention") == (None, "")
