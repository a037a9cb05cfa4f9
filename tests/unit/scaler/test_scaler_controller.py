"""The control loop over an orchestrator and a ledger in memory, with a clock of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from common.ledger import LedgerError
from scaler.loop import controller as loop
from scaler.loop.containment import LoopPart
from scaler.loop.controller import Controller
from scaler.loop.history import History
from scaler.loop.metrics import ScalerMetrics
from scaler.orchestrators.base import FleetHandle, Orchestrator, OrchestratorError
from scaler.policy.observation import (
    Fleet,
    Known,
    Observation,
    Obstacle,
    Signal,
    Unknown,
    Worker,
    WorkerCondition,
)
from scaler.policy.target import Target
from scaler.prometheus.look import Seen
from tests.support.handles import Handle
from tests.support.log_lines import capture_logs
from tests.support.remembering import as_kept, never_set


class World(Orchestrator):
    """A queue and a fleet that obey at once; also the ledger that drains it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waiting = 0
        self.states: dict[str, str] = {"w0": "idle"}
        self.blind = False
        self.hold: str | None = None
        self.hold_yields = False
        self.obstacle: Obstacle | None = None
        self.fleet_error = ""
        self.ledger_down = False
        self.started = 1
        self.withdrawn: list[str] = []

    # Signals

    def observe(self, target: Target) -> Observation:
        def known(value: float) -> Signal:
            return Unknown("blind", "q") if self.blind else Known(value, 0.5, "q")

        busy = list(self.states.values()).count("busy")
        unknown = Unknown("no sample", "q")
        return Observation(
            waiting=known(self.waiting),
            in_flight=known(busy),
            idle=known(list(self.states.values()).count("idle")),
            arrival_rate=unknown,
            burstiness=unknown,
            mean_duration=unknown,
            startup=known(10.0),
            fleet=None,
        )

    def look(self, targets: Sequence[Target]) -> Mapping[str, Seen]:
        return {target.name: self.seen(target) for target in targets}

    def seen(self, target: Target) -> Seen:
        workers = self.workers(target)
        return Seen(self.observe(target), None if workers is None else tuple(workers))

    def workers(self, target: Target) -> list[Worker] | None:
        if self.blind:
            return None
        return [Worker(name, WorkerCondition(state), 0.0) for name, state in self.states.items()]

    # Orchestrator

    def fleet(self, target: Target, workers: Sequence[Worker] | None) -> FleetHandle:
        if self.fleet_error:
            raise OrchestratorError(self.fleet_error)
        states = list(self.states.values())
        running = len(states) - states.count("draining")
        facts = Fleet(
            running,
            running,
            draining=states.count("draining"),
            unhealthy=states.count("unhealthy"),
            hold=self.hold,
            hold_yields=self.hold_yields,
            obstacle=self.obstacle and f"words of {self.obstacle}",
            obstacle_kind=self.obstacle,
        )
        return Handle(facts, target, self)

    def scale_up(self, target: Target, running: int, *, urgent: bool = False) -> str:
        while len(self.states) < running:
            self.states[f"w{self.started}"] = "idle"
            self.started += 1
        return f"{'urgently ' if urgent else ''}raised to {running}"

    def victims(self, target: Target, idle: Sequence[Worker], count: int) -> Sequence[Worker]:
        return idle[:count]

    def reconcile(self, target: Target) -> str | None:
        return None

    # Ledger

    def request_drain(self, worker_id: str, reason: str, *, ttl_s: int = 60) -> bool:
        if self.ledger_down:
            raise LedgerError("ledger: gone")
        return self.states.get(worker_id) == "idle"

    def withdraw_drain(self, worker_id: str) -> None:
        self.withdrawn.append(worker_id)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make(world: World, tmp_path: Path) -> Iterator[Callable[..., Controller]]:
    opened = []

    def build(**knobs: Any) -> Controller:
        history = History(tmp_path, retention_s=3600)
        opened.append(history)
        return Controller(
            [Target(**{"max_workers": 5, **knobs})],
            signals=world,
            orchestrators={"process": world},
            ledger=world,
            history=history,
            metrics=ScalerMetrics("test"),
            recall=as_kept,
            clock=never_set(lambda: world.now),
            monotonic=lambda: world.now,
        )

    yield build
    for history in opened:
        history.close()


def cycles(controller: Controller, world: World, seconds: int) -> list[str]:
    said = []
    for _ in range(seconds):
        world.now += 1
        said += controller.cycle()
    return said


def test_a_burst_is_answered_at_once_and_to_the_maximum(
    world: World, make: Callable[[], Controller]
) -> None:
    controller = make()
    world.waiting = 9
    (said,) = cycles(controller, world, 1)
    assert len(world.states) == 5
    assert "max_workers" in said
    assert "raised to 5" in said


def test_idle_workers_are_asked_to_leave_after_a_while_and_busy_ones_never(
    world: World, make: Callable[[], Controller]
) -> None:
    controller = make()
    world.states = {"w0": "busy", "w1": "idle", "w2": "idle"}
    said = cycles(controller, world, 60)
    asked = [line for line in said if "asked to leave" in line]
    assert asked
    assert all("w0" not in line.split("asked to leave")[1] for line in asked)
    assert list(controller.workers("video-creator"))


def test_a_drain_is_taken_back_when_work_comes(
    world: World, make: Callable[[], Controller]
) -> None:
    controller = make()
    world.states = {"w0": "idle", "w1": "idle"}
    while not any("asked to leave" in line for line in cycles(controller, world, 1)):
        assert world.now < 1100
    world.waiting = 2
    cycles(controller, world, 1)
    assert world.withdrawn
    assert world.started == 1, "who is asked to leave is kept rather than another started"


def test_blindness_holds_the_target_and_says_so(
    world: World, make: Callable[[], Controller]
) -> None:
    controller = make()
    world.waiting = 4
    cycles(controller, world, 1)
    world.blind, world.waiting = True, 0
    said = cycles(controller, world, 60)
    assert all("unknown" in line for line in said)
    assert len(world.states) == 4
    cycle = controller.latest("video-creator")
    assert cycle is not None
    assert cycle.decision.replicas == 4


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda world: setattr(world, "hold", "a roll-out is under way"), "roll-out"),
        (lambda world: setattr(world, "fleet_error", "the engine is away"), "engine is away"),
    ],
)
def test_nothing_is_changed_while_the_orchestrator_forbids_or_fails(
    world: World, make: Callable[[], Controller], spoil: Callable[[World], None], words: str
) -> None:
    controller = make()
    spoil(world)
    world.waiting = 4
    (said,) = cycles(controller, world, 1)
    assert words in said
    assert world.states == {"w0": "idle"}


def test_a_ledger_that_is_away_is_said_and_nobody_is_stopped(
    world: World, make: Callable[[], Controller]
) -> None:
    controller = make()
    world.states = {"w0": "idle", "w1": "idle"}
    world.ledger_down = True
    said = cycles(controller, world, 60)
    assert any("not applied: ledger: gone" in line for line in said)
    assert len(world.states) == 2


def test_a_fault_of_ours_does_not_end_the_loop(
    world: World, make: Callable[[], Controller], monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = make()

    def fail(*_: object, **__: object) -> Fleet:
        raise ZeroDivisionError("oops")

    for owner, name, words in (
        (world, "fleet", "the fleet is unknown (ZeroDivisionError: oops)"),
        (world, "scale_up", "not applied: ZeroDivisionError: oops"),
        (loop, "decide", "nothing was changed: ZeroDivisionError: oops"),
    ):
        world.waiting = 3
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            (said,) = cycles(controller, world, 1)
        assert words in said
        assert any("oops" in problem for problem in controller.problems)
        assert len(world.states) == 1
    cycles(controller, world, 1)
    assert len(world.states) == 3
    assert not controller.problems


def test_a_cycle_that_fails_as_a_whole_does_not_end_the_loop(
    world: World, make: Callable[[], Controller], monkeypatch: pytest.MonkeyPatch
) -> None:
    controller, stop, turns = make(), threading.Event(), 0
    begin = controller._targets_of_cycle

    def fail_at_first(now: float) -> Sequence[Any]:
        nonlocal turns
        turns += 1
        if turns == 3:
            stop.set()
        if turns == 1:
            raise RuntimeError("can't start new thread")
        return begin(now)

    monkeypatch.setattr(controller, "_targets_of_cycle", fail_at_first)
    controller.run(0.0, stop)
    assert turns == 3
    assert controller.contained.failures()[LoopPart.CYCLE] == 1
    assert not controller.problems
    assert controller.latest("video-creator") is not None


def test_a_restarted_scaler_decides_as_the_one_before_would_have(
    world: World, make: Callable[[], Controller]
) -> None:
    controller = make()
    world.waiting = 4
    cycles(controller, world, 1)
    world.waiting = 0
    cycles(controller, world, 2)
    again = make()
    world.now += 1
    again.cycle()
    cycle = again.latest("video-creator")
    assert cycle is not None
    assert cycle.decision.replicas == 4


def test_listeners_hear_of_every_cycle_until_they_leave(
    world: World, make: Callable[[], Controller]
) -> None:
    controller = make()
    heard: list[float] = []
    leave = controller.subscribe(lambda: heard.append(world.now))
    cycles(controller, world, 2)
    leave()
    cycles(controller, world, 2)
    assert heard == [1001.0, 1002.0]


def test_history_keeps_the_sentence_and_the_inputs(
    world: World, make: Callable[[], Controller]
) -> None:
    controller = make()
    world.waiting = 2
    cycles(controller, world, 1)
    (kept,) = controller.history.decisions("video-creator")
    assert kept["action"] == "up"
    assert kept["applied"] == "raised to 2"


def test_what_stands_in_the_way_is_a_line_when_it_comes_and_when_it_goes(
    world: World, make: Callable[..., Controller]
) -> None:
    controller = make()

    def shown(kind: Obstacle) -> float | None:
        labels = {"target": "video-creator", "kind": kind.value}
        return controller.metrics.registry.get_sample_value("autoscaler_fleet_obstacle", labels)

    with capture_logs() as lines:
        cycles(controller, world, 2)
        assert shown(Obstacle.NO_NODE) == 0
        world.obstacle = Obstacle.NO_NODE
        said = cycles(controller, world, 3)
        assert shown(Obstacle.NO_NODE) == 1
        world.obstacle = Obstacle.NO_IMAGE
        world.hold = "a roll-out is running"
        said += cycles(controller, world, 3)
        assert shown(Obstacle.NO_NODE) == 0
        assert shown(Obstacle.NO_IMAGE) == 1
        world.obstacle = world.hold = None
        cycles(controller, world, 3)
    assert all("in the way: words of" in line for line in said)
    told = [(line["event"], line["kind"]) for line in lines if "obstacle" in line["event"]]
    assert told == [
        ("fleet obstacle", Obstacle.NO_NODE),
        ("fleet obstacle", Obstacle.NO_IMAGE),
        ("fleet obstacle gone", Obstacle.NO_IMAGE),
    ]
    kept = [decision["applied"] for decision in controller.history.decisions("video-creator")]
    assert any("in the way: words of no_image" in applied for applied in kept)


def test_an_unhealthy_worker_is_replaced_and_the_surplus_goes_when_it_is_well_again(
    world: World, make: Callable[..., Controller]
) -> None:
    controller = make()
    world.states = {"w0": "unhealthy"}
    said = cycles(controller, world, 3)
    assert "1 unhealthy and no capacity, 1 run in their place" in said[0]
    assert world.states == {"w0": "unhealthy", "w1": "idle"}
    world.states["w0"] = "idle"
    said = cycles(controller, world, 60)
    assert any("asked to leave" in line for line in said)


def test_in_an_emergency_workers_come_although_others_finish_after_sigterm(
    world: World, make: Callable[..., Controller]
) -> None:
    controller = make(emergency_after=30)
    world.states = {"w0": "busy"}
    world.hold, world.hold_yields = "1 tasks finish their jobs after SIGTERM", True
    world.waiting = 2
    said = cycles(controller, world, 30)
    assert all("urgently" not in line for line in said)
    assert len(world.states) == 1
    (last,) = cycles(controller, world, 1)
    assert "emergency: jobs have waited for 30 s and no worker is idle" in last
    assert "although 1 tasks finish their jobs after SIGTERM" in last
    assert "urgently raised to 3" in last
    assert len(world.states) == 3


@pytest.mark.parametrize("knobs", [{}, {"emergency_after": 30}])
def test_no_emergency_without_the_setting_and_none_that_breaks_a_rollout(
    world: World, make: Callable[..., Controller], knobs: dict[str, Any]
) -> None:
    controller = make(**knobs)
    world.states = {"w0": "busy"}
    world.hold, world.hold_yields = "a hold", not knobs
    world.waiting = 2
    said = cycles(controller, world, 90)
    assert all("a hold" in line and "emergency" not in line for line in said)
    assert len(world.states) == 1
