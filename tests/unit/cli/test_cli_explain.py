"""What `explain` says of recorded decisions, one for each kind of situation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scaler.loop.controller import Controller
from scaler.policy import decide as policy
from scaler.policy.decision import Decision
from scaler.policy.explain import done as explained
from scaler.policy.explain import explain, record
from scaler.policy.forecast import Forecast, Hours
from scaler.policy.memory import Memory, apply_order
from scaler.policy.observation import Fleet, Known, Observation, Unknown
from scaler.policy.orders import Order, OrderKind
from scaler.policy.schedule import Bounds
from scaler.policy.target import Fallback, Schedule, Target
from tests.support.crew import START, Crew, controller_of

NAME = "video-creator"
# Of a record that has none: each of these has its own.
NO_BOUNDS = Bounds(0, 0, "", "")
LAUNCH = Order(
    at=START,
    order=OrderKind.OVERRIDE,
    reason="a launch",
    by="a test",
    until=START + 60,
    replicas=4,
)
Say = Callable[..., str]


@pytest.fixture
def crew() -> Crew:
    crew = Crew()
    crew.states[NAME] = {"w-0": "idle"}
    return crew


@pytest.fixture
def say(crew: Crew, tmp_path: Path) -> Iterator[Say]:
    """Cycles of a real controller; then how its last decision, as recorded, is explained."""
    opened: list[Controller] = []

    def run(
        target: Target, *, cycles: int = 1, change: Callable[[Crew], None], done: str = ""
    ) -> str:
        controller = controller_of(crew, [target], tmp_path)
        opened.append(controller)
        change(crew)
        latest = controller.latest(NAME)
        for _ in range(cycles):
            crew.now += 1
            controller.cycle()
            latest = controller.latest(NAME)
            if done and latest is not None and done in explained(latest.applied):
                break
        assert latest is not None
        kept = json.loads(json.dumps(record(latest.decision, latest.applied)))
        return explain(Decision.from_json(kept, NO_BOUNDS), kept["applied"])

    yield run
    for controller in opened:
        controller.history.close()


def test_burst(crew: Crew, say: Say) -> None:
    def change(crew: Crew) -> None:
        crew.waiting[NAME] = 7

    text = say(Target(max_workers=20), change=change)
    assert "7 workers wanted where 1 ran." in text
    assert "Demand was 7 jobs: 7 waiting and 0 in progress" in text
    assert "Done: started 6 workers." in text


def test_cap(crew: Crew, say: Say) -> None:
    def change(crew: Crew) -> None:
        crew.waiting[NAME] = 30

    text = say(Target(max_workers=7), change=change)
    assert "7 workers wanted where 1 ran." in text
    assert "for which 30 workers would do now" in text
    assert "Why not more: max_workers is 7, so the queue drains at the maximum." in text


def test_hold_of_idle_workers(crew: Crew, say: Say) -> None:
    crew.states[NAME] = {"a": "busy", "b": "busy", "c": "busy"}

    def change(crew: Crew) -> None:
        crew.states[NAME] = {"a": "busy", "b": "idle", "c": "idle"}

    text = say(Target(), change=change)
    assert text.startswith("3 workers, as wanted. Demand was 1 job:")
    assert "lately it was 3, and an idle worker is kept as long as starting another" in text


def test_fallback(crew: Crew, say: Say) -> None:
    target = Target(fallback=Fallback.NUMBER, fallback_replicas=4, fallback_after=5)

    def change(crew: Crew) -> None:
        crew.blind = True

    text = say(target, cycles=8, change=change)
    assert "Prometheus at http://prometheus:9090 is not reachable" in text
    assert "fallback number" in text
    assert "Unknown is not zero: 4 workers." in text
    assert "Demand" not in text


def test_pause(crew: Crew, tmp_path: Path) -> None:
    controller = controller_of(crew, [Target()], tmp_path)
    pause = Order(at=crew.now, order=OrderKind.PAUSE, reason="a deploy", by="a test")
    controller.order(NAME, pause)
    crew.waiting[NAME] = 5
    crew.now += 1
    controller.cycle()
    (kept,) = controller.history.decisions(NAME, limit=1)
    controller.history.close()
    text = explain(Decision.from_json(kept, NO_BOUNDS), kept["applied"])
    assert text.startswith("Held at 1 worker.")
    assert "Scaling is paused: a deploy. Nothing is changed until it is resumed" in text


def test_schedule(crew: Crew, say: Say) -> None:
    always = Schedule(name="office", start="* * * * *", end="0 0 1 1 *", min_workers=3)
    text = say(Target(schedules=(always,)), change=lambda _: None)
    assert "Held at 3 workers." in text
    assert "The schedule 'office' is open and sets this bound." in text


def test_forecast() -> None:
    target = Target(forecast=True)
    outlook = Forecast(int(START // 3600), expected=6.0, error=1.0, naive_error=9.0)
    memory = Memory(at=START, target=1, outlook=outlook, hours=Hours().add(START, 0.0))
    decision, _ = policy.decide(_seen(1, 0, Fleet(1, 1)), memory, target, START + 1)
    text = explain(decision, "")
    assert "6 workers wanted where 1 ran." in text
    assert "the forecast from the same hour of earlier days asks for at least 6" in text


def test_drain(crew: Crew, say: Say) -> None:
    crew.states[NAME] = {f"w-{n}": "idle" for n in range(4)}

    def change(crew: Crew) -> None:
        crew.states[NAME] = {"w-0": "idle", "w-1": "idle", "w-2": "draining", "w-3": "idle"}

    text = say(Target(), cycles=40, change=change, done="asked to leave")
    assert "1 worker leaving once its job ends" in text
    assert "Done: asked to leave: w-" in text
    assert "idle ones leave first" in text


def test_update_in_progress(crew: Crew, say: Say) -> None:
    def change(crew: Crew) -> None:
        crew.waiting[NAME] = 5
        crew.hold = "a roll-out of the service is under way"

    text = say(Target(), change=change)
    assert text == (
        "Held at 1 worker. Nothing may be changed now: a roll-out of the service is under way."
    )


def test_start_failures(crew: Crew, say: Say) -> None:
    def change(crew: Crew) -> None:
        crew.waiting[NAME] = 2
        crew.starting, crew.obstacle = 1, "no suitable node (insufficient memory)"

    text = say(Target(), change=change)
    assert "Workers do not start: no suitable node (insufficient memory)." in text
    assert "1 worker still starting and counted as on the way." in text


def test_override(crew: Crew) -> None:
    target = Target()
    decision, _ = policy.decide(
        _seen(0, 0, Fleet(4, 4)), apply_order(Memory(), LAUNCH), target, START
    )
    text = explain(decision, "")
    assert "A person ordered this number (override to 4: a launch)." in text


def test_override_within_a_cooldown() -> None:
    """What the order replaces is not named beside it."""
    target = Target(cooldown_period=60)
    memory = apply_order(Memory(at=START - 1, target=4, changed_at=START - 1), LAUNCH)
    decision, _ = policy.decide(_seen(9, 0, Fleet(4, 4)), memory, target, START)
    assert decision.bound == "override"
    assert "A person ordered this number (override to 4: a launch)." in explain(decision, "")


def test_the_past_is_explained_with_the_bounds_of_its_day() -> None:
    decision, _ = policy.decide(_seen(30, 0, Fleet(1, 1)), Memory(), Target(max_workers=7), START)
    kept = json.loads(json.dumps(decision.to_json()))
    later = Bounds(1, 50, "", "")
    assert "max_workers is 7" in explain(Decision.from_json(kept, later), "")
    del kept["bounds"]
    assert "max_workers is 50" in explain(Decision.from_json(kept, later), "")


def _seen(waiting: float, in_flight: float, fleet: Fleet) -> Observation:
    unknown = Unknown("no sample", "q")
    return Observation(
        waiting=Known(waiting, 0, "q"),
        in_flight=Known(in_flight, 0, "q"),
        idle=Known(0, 0, "q"),
        arrival_rate=unknown,
        burstiness=unknown,
        mean_duration=unknown,
        startup=Known(10, 0, "q"),
        fleet=fleet,
    )
