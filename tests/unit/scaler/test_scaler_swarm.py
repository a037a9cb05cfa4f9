"""What the Swarm orchestrator does about what it sees, beside a stand-in for the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from scaler.orchestrators.swarm.orchestrator import Swarm
from scaler.orchestrators.swarm.removal_order import Task
from scaler.orchestrators.swarm.service_view import ServiceView
from scaler.policy.target import Target

TARGET = Target(name="videos", service="videos")


class Engine:
    """One service, whose version goes up with each change."""

    def __init__(self, replicas: int, running: int) -> None:
        tasks = tuple(
            Task(f"t{n}", n, "a", "running", "running", 0.0) for n in range(1, running + 1)
        )
        labels = {"autoscaler.enable": "true", "autoscaler.max": "4"}
        self.seen = ServiceView("s1", "videos", 1, replicas, labels, tasks, hold=None)

    def view(self, _: str) -> ServiceView:
        return self.seen

    def opted_in(self) -> Sequence[ServiceView]:
        return [self.seen]

    def set_replicas(self, seen: ServiceView, replicas: int) -> None:
        assert seen == self.seen
        self.seen = replace(seen, replicas=replicas, version=seen.version + 1)

    def close(self) -> None:
        pass


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def settled(engine: Engine, clock: Clock, *waits: float) -> list[str | None]:
    """What settling said, at first and after each of these waits."""
    swarm = Swarm(engine, clock=clock)
    said = [swarm.settle(TARGET)]
    for wait in waits:
        clock.now += wait
        said.append(swarm.settle(TARGET))
    return said


def test_a_slot_beyond_the_count_is_taken_in_once_swarm_has_had_time(clock: Clock) -> None:
    engine = Engine(replicas=2, running=3)
    said = settled(engine, clock, 9.9, 0.2, 20)
    assert said == [None, None, "videos: replicas 2 -> 3, slots that Swarm had left over", None]


def test_a_change_by_anybody_gives_swarm_its_time_again(clock: Clock) -> None:
    engine = Engine(replicas=1, running=3)
    swarm = Swarm(engine, clock=clock)
    assert swarm.settle(TARGET) is None
    clock.now += 9
    engine.set_replicas(engine.seen, 2)
    for wait in (0, 9):
        clock.now += wait
        assert swarm.settle(TARGET) is None
    clock.now += 2
    assert swarm.settle(TARGET) is not None


def test_a_lag_that_ends_is_forgotten(clock: Clock) -> None:
    engine = Engine(replicas=2, running=3)
    swarm = Swarm(engine, clock=clock)
    lagging, tasks = engine.seen, engine.seen.tasks[:2]
    assert swarm.settle(TARGET) is None
    clock.now += 5
    engine.seen = replace(lagging, tasks=tasks)
    assert swarm.settle(TARGET) is None
    clock.now += 6
    engine.seen = lagging
    assert swarm.settle(TARGET) is None


@pytest.mark.parametrize(
    ("replicas", "running"), [(4, 5), (3, 2)], ids=["above the maximum", "slots still to come"]
)
def test_what_is_not_taken_in(clock: Clock, replicas: int, running: int) -> None:
    engine = Engine(replicas, running)
    assert settled(engine, clock, 60) == [None, None]
    assert engine.seen.replicas == replicas


def test_nothing_is_taken_in_while_a_roll_out_runs(clock: Clock) -> None:
    engine = Engine(replicas=2, running=3)
    engine.seen = replace(engine.seen, hold="a roll-out is running (updating)")
    assert settled(engine, clock, 60) == [None, None]
