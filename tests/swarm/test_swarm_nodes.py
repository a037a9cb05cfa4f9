"""Scaling down where node balance decides who goes: three engines, uneven layouts."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from common.records import WorkerRecord
from demo.stack import Stack
from scaler.orchestrators.swarm.orchestrator import Swarm
from scaler.orchestrators.swarm.removal_order import next_removed
from scaler.policy.observation import Worker, WorkerCondition
from scaler.policy.target import Target
from tests.support.fault_proxy import FaultProxy
from tests.support.handles import looked
from tests.support.waiting import until
from tests.support.worker_fleet import LAUNCH, Fleet, make_video
from tests.swarm.crew import Crew
from tests.swarm.engine import Engine
from tests.swarm.images import ROOT
from tests.swarm.nodes import HOLLOW, Nodes, load_hollow, load_shell, this_machine

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(900)]

SCALE_DOWNS = 100
AT_ONCE = 4


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with Nodes(3) as made:
        for engine in made.engines:
            load_shell(engine)
            load_hollow(engine)
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


def shrink(crew: Crew, name: str, dice: random.Random) -> int:
    """Random fleets, busy and idle, shrunk as far as may be; how many scale-downs it took."""
    swarm, target, done = Swarm(crew.direct), Target(name=name, service=name, min_workers=1), 0
    while True:
        running = sorted(crew.running(name))
        idle = [
            Worker(task, WorkerCondition.IDLE, dice.random(), task=task)
            for task in running
            if dice.random() < 0.8
        ]
        count = min(dice.randrange(1, 4), len(running) - 1)
        leavers = [worker.task for worker in looked(swarm, target, idle).victims(idle, count)]
        if not leavers and len(idle) == len(running):
            return done
        for task in dice.sample(leavers, len(leavers)):
            crew.leave(task)
        for _ in leavers:
            before, foretold = slot_numbers(crew, name), next_removed(crew.view(name).slots)
            assert looked(swarm, target).reconcile(), crew.describe(name)
            crew.removed(swarm, target)
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
            if crew.lost("order"):
                crew.direct.set_replicas(crew.view("order"), seen.replicas - 1)
                assert not crew.lost("order"), crew.describe("order")
            gone = before - slot_numbers(crew, "order")
            assert len(gone) == 1
            assert gone <= foretold


class Workers:
    """Real workers, one a node, with a stand-in for the renderer; broker and ledger outside."""

    service = "cut"

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.fleet = Fleet(stack, folder, make_video(folder / "small.mp4"))
        self.fleet.output.mkdir()

    def create(self, crew: Crew, rabbit_url: str, redis_url: str) -> None:
        fleet = self.fleet
        environment = {
            "RABBIT_URL": rabbit_url,
            "REDIS_URL": redis_url,
            "JOB_QUEUE": fleet.job_queue,
            "RESULT_QUEUE": fleet.result_queue,
            "OUTPUT": str(fleet.output),
            "STANDIN_VIDEO": str(fleet.video),
            "STANDIN_LOG": str(fleet.standin_log),
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": "0",
            "HEARTBEAT_INTERVAL": "1",
            "AMQP_HEARTBEAT": "2",
            "WORKER_ID": "{{.Task.ID}}",
            "TASK_ID": "{{.Task.ID}}",
            "NODE_ID": "{{.Node.ID}}",
            "PATH": "/usr/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        flags = [part for pair in environment.items() for part in ("--env", "=".join(pair))]
        crew.manager.cli(
            "service", "create", "--detach", "--no-resolve-image", "--name", self.service, *flags,
            *this_machine(fleet.folder), "--workdir", str(ROOT), "--replicas", "3",
            "--restart-condition", "on-failure", "--restart-delay", "1s",
            "--stop-grace-period", "60s", "--network", "host",
            HOLLOW, sys.executable, "-c", LAUNCH,
        )  # fmt: skip
        crew.own(self.service)

    def having_jobs(self) -> list[WorkerRecord]:
        mine = self.fleet.ledger.workers()
        return [w for w in mine if w.queue == self.fleet.job_queue and w.has_job]


def test_jobs_of_nodes_that_are_cut_off_are_done_elsewhere_once(
    nodes: Nodes, tmp_path: Path
) -> None:
    """One of the two cut off dies; on the other the worker goes on and comes back."""
    go = tmp_path / "go"
    with ExitStack() as opened:
        stack = opened.enter_context(Stack(tmp_path / "stack")).start("redis", "rabbitmq")
        workers = Workers(stack, tmp_path)
        fleet = workers.fleet
        broker = opened.enter_context(FaultProxy(stack.amqp_port, nodes.listener(0)))
        ledger = opened.enter_context(FaultProxy(stack.redis_port, nodes.listener(0)))
        crew = opened.enter_context(Crew(nodes.engines))
        where = nodes.address(0)
        workers.create(
            crew,
            f"amqp://guest:guest@{where}:{broker.port}/",
            f"redis://{where}:{ledger.port}/0",
        )
        crew.settled(workers.service, running=3)
        jobs = [fleet.submit(f"await {go}") for _ in range(3)]
        explain = partial(_last_words, nodes)
        opened.callback(go.touch)
        until(lambda: all(map(fleet.renders, jobs)), "three at work", explain=explain)
        until(lambda: len(workers.having_jobs()) == 3, "three told of", explain=explain)
        by_node = {worker.node: worker for worker in workers.having_jobs()}
        lost = [by_node[node] for node in nodes.ids()[1:]]
        opened.callback(_mend, nodes)
        for number in (1, 2):
            nodes.cut(number)
        dead = nodes.engines[1]
        dead.api.kill(_container_of(dead))
        until(
            lambda: all(fleet.renders(str(worker.job_id)) > 1 for worker in lost),
            "begun elsewhere",
            timeout_s=180,
            explain=explain,
        )
        go.touch()
        until(lambda: fleet.depth(fleet.result_queue) == 3, "all announced", explain=explain)
        _mend(nodes)
        # Who was only cut off has not said its last word before it has left.
        until(lambda: fleet.ledger.worker(lost[1].id) is None, "left", timeout_s=180)
        assert Counter(fleet.announced()) == dict.fromkeys(jobs, 1)
        assert {path.stem for path in fleet.output.glob("*.mp4")} == set(jobs)
        assert {fleet.status(job) for job in jobs} == {"done"}
        assert fleet.depth(fleet.job_queue) == fleet.depth(f"{fleet.job_queue}.dead") == 0


def _container_of(engine: Engine) -> str:
    (container,) = engine.api.containers(quiet=True)
    return str(container["Id"])


def _mend(nodes: Nodes) -> None:
    for number in (1, 2):
        nodes.mend(number)
    nodes.await_ready()


def _last_words(nodes: Nodes) -> str:
    """Of every container."""
    words = []
    for engine in nodes.engines:
        for container in engine.api.containers(all=True):
            text = engine.api.logs(container["Id"], tail=12).decode("utf-8", "replace")
            words.append(f"{engine.name} {container['Status']}: {text}")
    return "\n".join(words)
