"""What the Swarm orchestrator does about what it sees, beside a stand-in for the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from scaler.orchestrators.base import OrchestratorError
from scaler.orchestrators.swarm.engine import StaleVersionError, unfenced
from scaler.orchestrators.swarm.listing import Listing
from scaler.orchestrators.swarm.orchestrator import Swarm
from scaler.orchestrators.swarm.removal_order import Task
from scaler.orchestrators.swarm.service_view import ServiceView
from scaler.policy.observation import Worker, WorkerCondition
from scaler.policy.target import Target
from tests.support.handles import looked
from tests.support.swarm_services import listing_of

TARGET = Target(name="videos", service="videos")


class Engine:
    """One service, whose version goes up with each change; a person may change it, too, at the
    last moment before a look or before a change."""

    before_view: Callable[[], object] | None = None
    before_change: Callable[[], object] | None = None

    def __init__(self, replicas: int, running: int) -> None:
        tasks = tuple(
            Task(f"t{n}", n, "a", "running", "running", 0.0) for n in range(1, running + 1)
        )
        labels = {"autoscaler.enable": "true", "autoscaler.max": "4"}
        self.seen = ServiceView("s1", "videos", 1, replicas, labels, tasks, hold=None)

    def view(self, _: str) -> ServiceView:
        act, self.before_view = self.before_view, None
        if act:
            act()
        return self.seen

    def listing(self) -> Listing:
        return listing_of(self.seen)

    def set_replicas(
        self, seen: ServiceView, replicas: int, fence: Callable[[], None] = unfenced
    ) -> None:
        fence()
        act, self.before_change = self.before_change, None
        if act:
            act()
        if seen.version != self.seen.version:
            raise StaleVersionError("update out of sequence")
        assert seen == self.seen
        self.seen = replace(seen, replicas=replicas, version=seen.version + 1)

    def close(self) -> None:
        pass

    def leave(self, *numbers: int) -> None:
        """Workers leave by themselves: their slots are dead."""
        left = partial(replace, state="complete", desired="shutdown")
        tasks = (left(task) if task.slot in numbers else task for task in self.seen.tasks)
        self.seen = replace(self.seen, tasks=tuple(tasks))

    def person(self, **changes: Any) -> None:
        """Somebody else updates the service."""
        self.seen = replace(self.seen, version=self.seen.version + 1, **changes)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def reconciled(swarm: Swarm) -> str | None:
    return looked(swarm, TARGET).reconcile()


def settled(engine: Engine, clock: Clock, *waits: float) -> list[str | None]:
    """What reconciling said, at first and after each of these waits."""
    swarm = Swarm(engine, clock=clock)
    said = [reconciled(swarm)]
    for wait in waits:
        clock.now += wait
        said.append(reconciled(swarm))
    return said


def test_a_slot_beyond_the_count_is_taken_in_once_swarm_has_had_time(clock: Clock) -> None:
    engine = Engine(replicas=2, running=3)
    said = settled(engine, clock, 9.9, 0.2, 20)
    assert said == [None, None, "videos: replicas 2 -> 3, slots that Swarm had left over", None]


def test_a_change_by_anybody_gives_swarm_its_time_again(clock: Clock) -> None:
    engine = Engine(replicas=1, running=3)
    swarm = Swarm(engine, clock=clock)
    assert reconciled(swarm) is None
    clock.now += 9
    engine.set_replicas(engine.seen, 2)
    for wait in (0, 9):
        clock.now += wait
        assert reconciled(swarm) is None
    clock.now += 2
    assert reconciled(swarm) is not None


def test_a_lag_that_ends_is_forgotten(clock: Clock) -> None:
    engine = Engine(replicas=2, running=3)
    swarm = Swarm(engine, clock=clock)
    lagging, tasks = engine.seen, engine.seen.tasks[:2]
    assert reconciled(swarm) is None
    clock.now += 5
    engine.seen = replace(lagging, tasks=tasks)
    assert reconciled(swarm) is None
    clock.now += 6
    engine.seen = lagging
    assert reconciled(swarm) is None


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


OVERTAKEN = "videos has changed since it was looked at; decided again next cycle"
MOMENTS = ["before_view", "before_change"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_person_who_changes_the_service_meanwhile_wins_and_the_next_cycle_raises(
    clock: Clock, moment: str
) -> None:
    engine = Engine(replicas=1, running=1)
    swarm = Swarm(engine, clock=clock)
    handle = looked(swarm, TARGET)
    setattr(engine, moment, lambda: engine.person(replicas=2))
    assert handle.scale_up(3) == OVERTAKEN
    assert engine.seen.replicas == 2
    assert handle.scale_up(3) == OVERTAKEN, "that look is past"
    assert looked(swarm, TARGET).scale_up(3) == "videos: replicas 2 -> 3"


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_person_who_changes_the_service_meanwhile_wins_and_the_next_cycle_lowers(
    clock: Clock, moment: str
) -> None:
    engine = Engine(replicas=3, running=3)
    engine.leave(3)
    swarm = Swarm(engine, clock=clock)
    handle = looked(swarm, TARGET)
    setattr(engine, moment, engine.person)
    assert handle.reconcile() == OVERTAKEN
    assert engine.seen.replicas == 3
    assert reconciled(swarm) == "videos: replicas 3 -> 2, an empty slot"


def test_slots_left_over_are_not_taken_in_where_a_person_changes_the_service(clock: Clock) -> None:
    engine = Engine(replicas=2, running=3)
    swarm = Swarm(engine, clock=clock)
    looked(swarm, TARGET)
    clock.now += 11
    handle = looked(swarm, TARGET)
    engine.before_change = engine.person
    assert handle.reconcile() == OVERTAKEN
    assert reconciled(swarm) is None, "Swarm has its time again"
    assert engine.seen.replicas == 2


def test_the_tasks_of_the_last_moment_say_whether_the_count_is_lowered(clock: Clock) -> None:
    engine = Engine(replicas=4, running=4)
    engine.leave(3)
    swarm = Swarm(engine, clock=clock)
    handle, tasks = looked(swarm, TARGET), engine.seen.tasks

    def last_one_restarts() -> None:
        *others, last = engine.seen.tasks
        engine.seen = replace(engine.seen, tasks=(*others, replace(last, state="starting")))

    # At the same version: that one would go before the empty slot.
    engine.before_view = last_one_restarts
    assert handle.reconcile() is None
    assert engine.seen.replicas == 4
    engine.seen = replace(engine.seen, tasks=tasks)
    assert reconciled(swarm) == "videos: replicas 4 -> 3, an empty slot"


def test_a_hold_that_comes_meanwhile_forbids_what_the_look_allowed(clock: Clock) -> None:
    engine = Engine(replicas=2, running=2)
    engine.leave(2)
    handle = looked(Swarm(engine, clock=clock), TARGET)
    engine.seen = replace(engine.seen, hold="1 tasks finish their jobs", hold_yields=True)
    assert handle.reconcile() is None
    with pytest.raises(OrchestratorError, match="finish their jobs"):
        handle.scale_up(3)
    assert handle.scale_up(3, urgent=True) == "videos: replicas 2 -> 4"


def test_the_calls_of_a_look_may_come_in_any_order(clock: Clock) -> None:
    engine = Engine(replicas=3, running=3)
    engine.leave(3)
    swarm = Swarm(engine, clock=clock)
    leaver = Worker("w", WorkerCondition.DRAINING, 0.0, task="t1")
    handle = looked(swarm, TARGET, [leaver])
    looked(swarm, TARGET)
    assert handle.facts.running == 1
    said = handle.scale_up(2)
    assert said == "videos: replicas 3 -> 4", (
        "who leaves by this look is replaced, seen later or not"
    )
    assert handle.reconcile() is None, "what this look has changed is no news"
    assert engine.seen.replicas == 4
