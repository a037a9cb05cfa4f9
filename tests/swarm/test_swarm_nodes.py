"""Scaling down where node balance decides who goes: three engines, uneven layouts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from scaler.orchestrators.base import WorkerSeen
from scaler.orchestrators.swarm import Swarm
from scaler.orchestrators.swarm_order import next_removed
from scaler.targets import Target
from tests.swarm.crew import Crew
from tests.swarm.engine import wait_until
from tests.swarm.nodes import Nodes, load_shell

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(900)]

SCALE_DOWNS = 100
AT_ONCE = 4


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with Nodes(3) as made:
        for engine in made.engines:
            load_shell(engine)
        yield made


def grow(crew: Crew, nodes: Nodes, name: str, dice: random.Random) -> None:
    """Six to fourteen workers, in steps between which some nodes take no tasks."""
    crew.create(name, dice.randrange(1, 4))
    for _ in range(2):
        seen = crew.settled(name)
        paused = dice.sample(nodes.ids(), dice.randrange(0, 3))
        for node in paused:
            nodes.availability(node, "pause")
        crew.direct.set_replicas(seen, seen.replicas + dice.randrange(2, 6))
        crew.settled(name)
        for node in paused:
            nodes.availability(node, "active")


def slot_numbers(crew: Crew, name: str) -> set[int]:
    return {slot.number for slot in crew.view(name).slots}


def caught_up(crew: Crew, name: str) -> bool:
    seen = crew.view(name)
    return len(seen.slots) == seen.replicas and not any(task.leaving for task in seen.tasks)


def shrink(crew: Crew, name: str, dice: random.Random) -> int:
    """Random fleets, busy and idle, shrunk as far as may be; how many scale-downs it took."""
    swarm, target, done = Swarm(crew.direct), Target(name=name, service=name, min_workers=1), 0
    while True:
        running = sorted(crew.running(name))
        idle = [
            WorkerSeen(task, "idle", dice.random(), task=task)
            for task in running
            if dice.random() < 0.8
        ]
        count = min(dice.randrange(1, 4), len(running) - 1)
        leavers = [worker.task for worker in swarm.victims(target, idle, count)]
        if not leavers and len(idle) == len(running):
            return done
        for task in dice.sample(leavers, len(leavers)):
            crew.leave(task)
        for _ in leavers:
            before, foretold = slot_numbers(crew, name), next_removed(crew.view(name).slots)
            assert swarm.settle(target), crew.describe(name)
            wait_until(lambda: caught_up(crew, name), "caught up")
            gone = before - slot_numbers(crew, name)
            assert gone < {slot.number for slot in foretold} or gone == {
                slot.number for slot in foretold
            }
            done += 1
        assert crew.running(name) == set(running) - set(leavers), crew.describe(name)
        if len(crew.running(name)) == 1:
            return done


def test_a_hundred_scale_downs_remove_not_one_running_task(nodes: Nodes) -> None:
    done, round_number = 0, 0
    with Crew(nodes.engines) as crew, ThreadPoolExecutor(AT_ONCE) as pool:
        while done < SCALE_DOWNS:
            names = [f"down{round_number}-{number}" for number in range(AT_ONCE)]
            dice = [random.Random(name) for name in names]
            for name, one in zip(names, dice, strict=True):
                grow(crew, nodes, name, one)
            done += sum(pool.map(lambda pair: shrink(crew, *pair), zip(names, dice, strict=True)))
            round_number += 1
        # Every worker that ended was asked to; Swarm stopped none.
        assert set(crew.exits.values()) == {0}
        assert len(crew.exits) >= SCALE_DOWNS


def test_swarm_removes_what_is_foretold_also_among_running_tasks(nodes: Nodes) -> None:
    """The order itself, without anybody having left."""
    dice = random.Random(7)
    with Crew(nodes.engines) as crew:
        grow(crew, nodes, "order", dice)
        while (seen := crew.settled("order")).replicas > 1:
            if dice.random() < 0.3:
                crew.leave(dice.choice(sorted(crew.running("order"))))
                seen = crew.settled("order")
            foretold = {slot.number for slot in next_removed(seen.slots)}
            before = slot_numbers(crew, "order")
            crew.direct.set_replicas(seen, seen.replicas - 1)
            wait_until(lambda: caught_up(crew, "order"), "caught up")
            gone = before - slot_numbers(crew, "order")
            assert len(gone) == 1
            assert gone <= foretold
