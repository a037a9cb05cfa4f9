"""Scaling services of a real Swarm: the count alone, nobody stopped, people first."""

from __future__ import annotations

import contextlib
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from scaler.orchestrators.base import FleetHandle, OrchestratorError
from scaler.orchestrators.swarm.engine import DirectEngine, StaleVersionError, unfenced
from scaler.orchestrators.swarm.orchestrator import Swarm
from scaler.orchestrators.swarm.service_view import ServiceView
from scaler.policy.observation import Obstacle, Worker, WorkerCondition
from scaler.policy.target import Target
from tests.support.handles import looked
from tests.support.waiting import until
from tests.swarm.crew import STOPPED_BY_SWARM, WORK, Crew, spec_of
from tests.swarm.engine import Engine, EngineError
from tests.swarm.images import BASE

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]


def target(service: str, **knobs: Any) -> Target:
    return Target(name=service, service=service, **knobs)


def swarm_of(crew: Crew) -> Swarm:
    return Swarm(crew.direct)


def seen_by(crew: Crew, name: str, state: str = "idle") -> list[Worker]:
    tasks = crew.running(name)
    return [
        Worker(task, WorkerCondition(state), float(n), task=task)
        for n, task in enumerate(sorted(tasks))
    ]


def changed_paths(before: Any, after: Any, path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(set(before) | set(after))
        parts = [changed_paths(before.get(k), after.get(k), f"{path}.{k}") for k in keys]
        return [found for part in parts for found in part]
    return [] if before == after else [path]


STACK = """
version: "3.8"
services:
  few:
    image: {image}
    command: ["sh", "-c", "{work}"]
    deploy:
      replicas: 2
      restart_policy: {{condition: on-failure}}
"""


def by_cli(crew: Crew) -> str:
    crew.manager.cli(
        "service", "create", "--detach", "--no-resolve-image", "--name", "by-cli",
        "--replicas", "2", BASE, "sh", "-c", WORK.format(slow=0),
    )  # fmt: skip
    return "by-cli"


def by_cli_in_full(crew: Crew) -> str:
    crew.manager.cli(
        "service", "create", "--detach", "--no-resolve-image", "--name", "in-full",
        "--replicas", "2", "--env", "A=1", "--label", "x=y", "--container-label", "c=d",
        "--limit-memory", "64m", "--reserve-cpu", "0.01", "--update-failure-action", "rollback",
        "--update-parallelism", "1", "--update-monitor", "1s", "--update-max-failure-ratio", "0.3",
        "--rollback-delay", "1s", "--stop-grace-period", "5s", "--stop-signal", "TERM",
        "--restart-condition", "on-failure", "--restart-max-attempts", "3", "--hostname", "h",
        "--restart-window", "120s", "--mount", "type=tmpfs,target=/scratch", "--read-only",
        "--health-cmd", "true", "--health-interval", "1s", "--log-driver", "json-file",
        "--constraint", "node.role==manager", "--placement-pref", "spread=node.labels.zone",
        "--ulimit", "nofile=1024:1024", "--cap-drop", "ALL", "--dns", "127.0.0.53",
        BASE, "sh", "-c", WORK.format(slow=0),
    )  # fmt: skip
    return "in-full"


def by_stack(crew: Crew) -> str:
    folder = crew.manager.scratch
    file = folder / "few.yml"
    file.write_text(STACK.format(image=BASE, work=WORK.format(slow=0)))
    crew.manager.cli("stack", "deploy", "--resolve-image", "never", "-c", str(file), "by-stack")
    return "by-stack_few"


def by_api(crew: Crew) -> str:
    api = crew.manager.api
    spec = {
        "Name": "by-api",
        "TaskTemplate": {
            "ContainerSpec": {"Image": BASE, "Command": ["sh", "-c", WORK.format(slow=0)]}
        },
        "Mode": {"Replicated": {"Replicas": 2}},
    }
    url = f"{api.base_url}/v{api.api_version}/services/create"
    answer = api.post(url, data=json.dumps(spec), headers={"Content-Type": "application/json"})
    assert answer.status_code == 201, answer.text
    return "by-api"


@pytest.mark.parametrize("create", [by_cli, by_cli_in_full, by_stack, by_api])
def test_a_scale_replaces_no_task_and_changes_the_count_alone(crew: Crew, create: Any) -> None:
    name = create(crew)
    crew.own(name)
    crew.settled(name, running=2)
    before, tasks = spec_of(crew.manager, name), crew.running(name)
    crew.direct.set_replicas(crew.view(name), 4)
    crew.settled(name, running=4)
    assert tasks < crew.running(name)
    assert changed_paths(before, spec_of(crew.manager, name)) == [".Mode.Replicated.Replicas"]


def test_a_version_that_is_no_longer_true_is_refused(crew: Crew) -> None:
    crew.create("stale", 1)
    old = crew.view("stale")
    crew.manager.cli("service", "update", "--detach", "--label-add", "by=person", "stale")
    with pytest.raises(StaleVersionError):
        crew.direct.set_replicas(old, 5)
    assert looked(swarm_of(crew), target("stale")).scale_up(2) == "stale: replicas 1 -> 2"
    assert spec_of(crew.manager, "stale")["Labels"] == {"by": "person"}


def test_the_engine_itself_refuses_a_stale_version(crew: Crew) -> None:
    """Between the last read and the post there is no window either."""
    crew.create("late", 1)
    old = crew.view("late")

    class Between(DirectEngine):
        def _request(self, method: str, path: str, **options: Any) -> Any:
            if method == "POST":
                crew.manager.cli("service", "update", "--detach", "--label-add", "by=me", "late")
            return super()._request(method, path, **options)

    with pytest.raises(StaleVersionError, match="out of sequence"):
        Between(crew.manager.host, min_grace_s=1).set_replicas(old, 5)
    assert crew.view("late").replicas == 1


def test_idle_workers_leave_one_by_one_and_only_empty_slots_are_removed(crew: Crew) -> None:
    crew.create("down", 7)
    swarm, one = swarm_of(crew), target("down", min_workers=1)
    dice = random.Random(4)
    while len(crew.running("down")) > 1:
        running = crew.running("down")
        idle = [w for w in seen_by(crew, "down") if dice.random() < 0.7]
        leavers = [worker.task for worker in looked(swarm, one, idle).victims(idle, 2)]
        for task in dice.sample(leavers, len(leavers)):
            crew.leave(task)
        for _ in leavers:
            until(lambda: looked(swarm, one).reconcile(), "an empty slot given back")
            crew.removed(swarm, one)
        crew.settled("down")
        assert crew.running("down") == running - set(leavers)
    assert crew.view("down").replicas == 1
    assert set(crew.exits.values()) == {0}


def test_dead_slots_count_as_replicas_and_a_raise_allows_for_them(crew: Crew) -> None:
    crew.create("dead", 3)
    swarm, one = swarm_of(crew), target("dead")
    crew.leave(crew.view("dead").slots[0].task)
    handle = looked(swarm, one, seen_by(crew, "dead"))
    fleet = handle.facts
    assert (fleet.replicas, fleet.running, fleet.dead, fleet.starting) == (3, 2, 1, 0)
    assert handle.scale_up(4) == "dead: replicas 3 -> 5"
    assert len(crew.settled("dead", running=4).slots) == 5
    assert looked(swarm, one).reconcile() == "dead: replicas 5 -> 4, an empty slot"
    crew.removed(swarm, one)
    assert crew.settled("dead", running=4).dead == 0
    assert STOPPED_BY_SWARM not in crew.exits.values()


def test_no_update_while_a_task_finishes_after_sigterm(crew: Crew) -> None:
    crew.create("term", 3, slow=6)
    crew.manager.cli("service", "scale", "--detach", "term=2")
    swarm, one = swarm_of(crew), target("term")
    until(lambda: any(task.leaving for task in crew.view("term").tasks), "SIGTERM sent")
    handle = looked(swarm, one)
    assert handle.facts.draining == 1
    assert handle.facts.hold == "1 tasks finish their jobs after SIGTERM"
    with pytest.raises(OrchestratorError, match="after SIGTERM"):
        handle.scale_up(5)
    assert handle.reconcile() is None
    assert not handle.victims(seen_by(crew, "term"), 1)
    crew.settled("term", running=2)
    assert looked(swarm, one).scale_up(5) == "term: replicas 2 -> 5"
    assert list(crew.exits.values()) == [STOPPED_BY_SWARM]


def test_in_an_emergency_workers_come_and_the_one_that_finishes_is_not_killed(crew: Crew) -> None:
    crew.create("urgent", 3, slow=6)
    crew.manager.cli("service", "scale", "--detach", "urgent=2")
    swarm, one = swarm_of(crew), target("urgent")

    def ending() -> FleetHandle | None:
        handle = looked(swarm, one)
        return handle if handle.facts.draining else None

    handle = until(ending, "SIGTERM sent")
    assert handle.facts.hold_yields
    kept = crew.running("urgent")
    assert handle.scale_up(5, urgent=True) == "urgent: replicas 2 -> 5"
    crew.settled("urgent", running=5)
    assert kept < crew.running("urgent")
    # By itself, not by SIGKILL at the end of its grace period.
    until(lambda: crew.exits, "the one that finished")
    assert list(crew.exits.values()) == [STOPPED_BY_SWARM]


def test_swarm_replaces_a_worker_whose_health_check_fails_and_the_count_stays(crew: Crew) -> None:
    health = ("--health-cmd", "test ! -e /tmp/stuck", "--health-interval", "1s")
    crew.create("sick", 2, *health, "--health-retries", "1")
    sick, well = crew.view("sick").slots
    swarm, one = swarm_of(crew), target("sick")
    told = [
        Worker("a", WorkerCondition.UNHEALTHY, 0.0, task=sick.task, stuck=True),
        Worker("b", WorkerCondition.IDLE, 0.0, task=well.task),
    ]
    fleet = looked(swarm, one, told).facts
    assert (fleet.running, fleet.unhealthy) == (2, 1)
    crew.inside(sick.task, "touch", "/tmp/stuck")

    def replaced() -> bool:
        running = crew.running("sick")
        return len(running) == 2 and sick.task not in running

    until(replaced, "another in its place", explain=lambda: crew.describe("sick"))
    assert well.task in crew.running("sick")
    fleet = looked(swarm, one, told).facts
    assert (fleet.replicas, fleet.running, fleet.unhealthy, fleet.dead) == (2, 2, 0, 0)


def test_a_bad_rollout_during_a_burst_comes_back_to_the_good_image(crew: Crew) -> None:
    crew.create(
        "roll", 2, "--update-failure-action", "rollback", "--update-monitor", "2s",
        "--update-parallelism", "1", "--update-max-failure-ratio", "0", "--rollback-monitor", "1s",
    )  # fmt: skip
    swarm, one = swarm_of(crew), target("roll")
    crew.manager.cli(
        "service", "update", "--detach", "--no-resolve-image", "--image", "no-such:image", "roll"
    )
    holds: set[str] = set()

    def burst() -> bool:
        """A controller that wants five workers throughout."""
        try:
            return looked(swarm, one).scale_up(5) == "roll: replicas 2 -> 5"
        except OrchestratorError as error:
            holds.add(str(error))
            return False

    until(burst, "the burst answered")
    crew.settled("roll", running=5)
    image = spec_of(crew.manager, "roll")["TaskTemplate"]["ContainerSpec"]["Image"]
    assert image == BASE
    assert any("roll-out" in hold for hold in holds), holds


class Raced(DirectEngine):
    """Lets something happen at the last moment before a change, and counts what the races did."""

    def __init__(self, host: str) -> None:
        super().__init__(host, min_grace_s=1)
        self.just_before: Callable[[], object] | None = None
        self.tally: Counter[str] = Counter()

    def _request(self, method: str, path: str, **options: Any) -> Any:
        act, self.just_before = self.just_before, None if method == "POST" else self.just_before
        if method == "POST" and act:
            act()
        return super()._request(method, path, **options)

    def set_replicas(
        self, seen: ServiceView, replicas: int, fence: Callable[[], None] = unfenced
    ) -> None:
        try:
            super().set_replicas(seen, replicas, fence)
        except StaleVersionError:
            self.tally["scaling refused as stale"] += 1
            raise
        self.tally["scaled meanwhile"] += 1


def _races(crew: Crew, name: str, rounds: int) -> Counter[str]:
    """A person's updates, by turns right between a scaling's reading and writing and beside it."""
    engine, dice = Raced(crew.manager.host), random.Random(name)
    swarm, one = Swarm(engine), target(name, min_workers=0)

    def empty() -> bool:
        seen = crew.view(name)
        if seen.replicas:
            with contextlib.suppress(StaleVersionError):
                crew.direct.set_replicas(seen, 0)
            return False
        # A roll-out that the count overtakes may have left a slot behind.
        looked(swarm, one).reconcile()
        return not seen.hold and not seen.slots

    def scale() -> None:
        """Cycle after cycle, as the controller does, until the count is reached."""
        with contextlib.suppress(OrchestratorError):  # a hold, since a roll-out begins
            while not (handle := looked(swarm, one)).facts.replicas:
                handle.scale_up(1)

    for number in range(rounds):
        # From none, so that no roll-out has to be waited for.
        until(empty, f"{name} empty", explain=lambda: crew.describe(name))
        before, person = engine.tally.copy(), partial(_person, crew.manager, name, number)
        if number % 2:
            engine.just_before = lambda person=person: engine.tally.update(person())
            scale()
        else:
            with ThreadPoolExecutor(1) as pool:
                update = pool.submit(person)
                time.sleep(dice.uniform(0, 0.05))
                scale()
                engine.tally.update(update.result())
        engine.tally["raced"] += engine.tally != before
    engine.close()
    return engine.tally


def test_a_persons_update_racing_with_scaling_is_never_lost(
    crew: Crew, capsys: pytest.CaptureFixture[str]
) -> None:
    names, rounds = [f"race{number}" for number in range(5)], 10
    for name in names:
        # No node takes its tasks: races need no containers.
        crew.create(name, 0, "--constraint", "node.labels.nowhere==true")
    with ThreadPoolExecutor(len(names)) as pool:
        tallies = list(pool.map(lambda name: _races(crew, name, rounds), names))
    tally = sum(tallies, Counter())
    with capsys.disabled():
        sys.stdout.write(f"\n50 updates by a person: {dict(tally)}\n")
    for name in names:
        environment = spec_of(crew.manager, name)["TaskTemplate"]["ContainerSpec"]["Env"]
        assert sorted(environment) == sorted(f"V{number}={number}" for number in range(rounds))
    # Every second update came between a scaling's reading and its writing.
    assert tally["scaling refused as stale"] >= 25
    assert tally["raced"] >= 25


def _person(engine: Engine, service: str, number: int) -> dict[str, int]:
    """Somebody at the command line, who tries again when told so; how often that was."""
    refused = 0
    while True:
        try:
            engine.cli("service", "update", "--detach", "--env-add", f"V{number}={number}", service)
        except EngineError as error:
            if "out of sequence" not in str(error):
                raise
            refused += 1
        else:
            return {"person refused as stale": refused} if refused else {}


def test_what_stands_in_the_way_is_said(crew: Crew) -> None:
    crew.create("way", 1)
    swarm = swarm_of(crew)
    update = ("service", "update", "--detach", "--no-resolve-image", "--update-order", "stop-first")
    crew.manager.cli(*update, "--constraint-add", "node.labels.gpu==yes", "way")
    _expect_obstacle(swarm, "way", Obstacle.NO_NODE, "no suitable node")
    crew.manager.cli(
        *update, "--constraint-rm", "node.labels.gpu==yes", "--image", "not:here", "way"
    )
    _expect_obstacle(swarm, "way", Obstacle.NO_IMAGE, "No such image")
    crew.manager.cli(*update, "--image", BASE, "--args", "false", "way")
    words = "failed in the last 120 s: task: non-zero exit (1)"
    _expect_obstacle(swarm, "way", Obstacle.CRASH_LOOP, words)


def _expect_obstacle(swarm: Swarm, service: str, kind: Obstacle, words: str) -> None:
    def said() -> bool:
        fleet = looked(swarm, target(service)).facts
        return fleet.obstacle_kind is kind and words in (fleet.obstacle or "")

    until(said, f"obstacle {words!r}", explain=lambda: looked(swarm, target(service)).facts)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--restart-condition", "any"], "must be 'on-failure'"),
        (["--restart-condition", "none"], "must be 'on-failure'"),
        (["--stop-grace-period", "500ms"], "must be at least 1 s"),
    ],
)
def test_a_service_whose_workers_cannot_leave_is_refused(
    crew: Crew, flags: list[str], words: str
) -> None:
    crew.create("unfit", 1, *flags)
    swarm = swarm_of(crew)
    handle = looked(swarm, target("unfit"))
    assert words in (handle.facts.hold or "")
    with pytest.raises(OrchestratorError, match=words):
        handle.scale_up(2)
    assert crew.view("unfit").replicas == 1


def test_a_stack_deploy_that_resets_the_count_is_mended_at_once(crew: Crew) -> None:
    file = crew.manager.scratch / "reset.yml"
    text = STACK.format(image=BASE, work=WORK.format(slow=0)).replace("replicas: 2", "replicas: 1")
    file.write_text(text.replace("deploy:", "stop_grace_period: 20s\n    deploy:"))
    deploy = ("stack", "deploy", "--resolve-image", "never", "-c", str(file), "reset")
    crew.manager.cli(*deploy)
    crew.own("reset_few")
    swarm, one = swarm_of(crew), target("reset_few")
    until(lambda: crew.running("reset_few"), "the first worker")
    looked(swarm, one).scale_up(4)
    crew.settled("reset_few", running=4)
    crew.manager.cli(*deploy)
    assert crew.view("reset_few").replicas == 1
    until(lambda: not crew.view("reset_few").hold, "those stopped having ended")
    assert looked(swarm, one).scale_up(4) == "reset_few: replicas 1 -> 4"
    crew.settled("reset_few", running=4)
