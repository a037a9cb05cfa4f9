"""Services of minimal workers whose every end can be told apart: asked to leave (0), stopped by
Swarm (7)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from scaler.orchestrators.swarm.engine import DirectEngine
from scaler.orchestrators.swarm.orchestrator import Swarm
from scaler.orchestrators.swarm.service_view import ServiceView
from scaler.policy.target import Target
from tests.support.handles import looked
from tests.support.waiting import until
from tests.swarm.engine import Engine
from tests.swarm.images import BASE

STOPPED_BY_SWARM = 7
# USR1 stands for a granted drain request. A `slow` worker takes its time after SIGTERM.
WORK = "trap 'exit 0' USR1; trap 'sleep {slow}; exit 7' TERM; sleep 100000 & wait; wait"


class Crew:
    """Workers on the engines of one Swarm, of which the first is the manager."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.engines = list(engines)
        self.manager = engines[0]
        self.direct = DirectEngine(self.manager.host, min_grace_s=1.0)
        self.exits: dict[str, int] = {}
        """Exit code by container, as the engines told it."""
        self._streams: list[Any] = []
        self._made: list[str] = []

    def __enter__(self) -> Crew:
        for engine in self.engines:
            stream = engine.api.events(decode=True, filters={"event": "die"})
            self._streams.append(stream)
            threading.Thread(target=self._listen, args=(stream,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for service in self._made:
            self.manager.api.remove_service(service)
        for stream in self._streams:
            stream.close()
        for engine in self.engines:
            until(partial(_none_left, engine), "containers ending")
        self.direct.close()

    def _listen(self, stream: Any) -> None:
        for event in stream:
            self.exits[event["id"]] = int(event["Actor"]["Attributes"]["exitCode"])

    def create(self, name: str, replicas: int, *args: str, slow: float = 0) -> None:
        """A service of `replicas` workers, made by the command line."""
        self.manager.cli(
            "service", "create", "--detach", "--name", name, "--replicas", str(replicas),
            "--restart-condition", "on-failure", "--restart-delay", "500ms",
            "--stop-grace-period", "20s", "--no-resolve-image", "--network", "host",
            *args, BASE, "sh", "-c", WORK.format(slow=slow),
        )  # fmt: skip
        self.own(name)
        self.settled(name)

    def own(self, name: str) -> None:
        """Remove this service, too, when the test ends."""
        self._made.append(name)

    def view(self, name: str) -> ServiceView:
        """The service now."""
        return self.direct.view(name)

    def settled(self, name: str, running: int | None = None) -> ServiceView:
        """The service once as many run as are asked for (or `running`)."""

        def check() -> ServiceView | None:
            seen = self.view(name)
            wanted = seen.replicas - seen.dead if running is None else running
            done = sum(slot.running for slot in seen.slots) == wanted
            return seen if done and _caught_up(seen) else None

        found: ServiceView = until(check, f"settled: {name}", explain=lambda: self.describe(name))
        return found

    def lost(self, name: str) -> bool:
        """Whether Swarm has not caught up with the count within half a minute: docs/adr/0067."""
        try:
            until(lambda: _caught_up(self.view(name)), timeout_s=30)
        except AssertionError:
            return True
        return False

    def removed(self, swarm: Swarm, target: Target) -> None:
        """Wait until the slot given back is gone.

        Where Swarm has lost the removal, the scaler's next ticks see to it.
        """
        name = target.service
        if self.lost(name):
            until(
                lambda: looked(swarm, target).reconcile(),
                "taken in again",
                explain=lambda: self.describe(name),
            )
            assert looked(swarm, target).reconcile(), self.describe(name)
            assert not self.lost(name), self.describe(name)

    def describe(self, name: str) -> str:
        """The service's count and tasks, for messages."""
        seen = self.view(name)
        tasks = (f"{t.slot}@{t.node[:5]} {t.state}/{t.desired} {t.error}" for t in seen.tasks)
        return f"{seen.replicas} replicas: {'; '.join(tasks)}"

    def running(self, name: str) -> set[str]:
        """Ids of the tasks that run."""
        return {slot.task for slot in self.view(name).slots if slot.running}

    def container(self, task: str) -> tuple[Engine, str]:
        """The container of a task, and the engine that runs it."""
        raw = self.manager.api.inspect_task(task)
        container = str(raw["Status"]["ContainerStatus"]["ContainerID"])
        return next(e for e in self.engines if container in _ids(e)), container

    def inside(self, task: str, *command: str) -> str:
        """What a command says that runs in the task's container."""
        engine, container = self.container(task)
        return engine.cli("exec", container, *command)

    def leave(self, task: str) -> None:
        """Have this worker leave by itself, as a drained one does, and await its empty slot."""
        engine, container = self.container(task)
        engine.api.kill(container, "USR1")
        service = self.manager.api.inspect_task(task)["ServiceID"]
        until(
            lambda: any(slot.dead and slot.task == task for slot in self.view(service).slots),
            f"{task} having left",
        )


def _caught_up(seen: ServiceView) -> bool:
    """Whether Swarm has as many slots as it is to have, and nobody is on the way out."""
    return len(seen.slots) == seen.replicas and not any(task.leaving for task in seen.tasks)


def _none_left(engine: Engine) -> bool:
    return not engine.api.containers(quiet=True)


def _ids(engine: Engine) -> set[str]:
    return {container["Id"] for container in engine.api.containers(quiet=True)}


def spec_of(engine: Engine, service: str) -> Any:
    """The service's spec as stored, without defaults."""
    return engine.api.inspect_service(service)["Spec"]
