"""The matrix of faults, as far as it is Docker that fails: directly, or the gateway before it.

Everything is real: the engine, its Swarm and the services, the gateway, Prometheus and Redis. The
workers are containers that wait; what they do is shown for them.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import pytest

from demo.ports import free_ports
from scaler.orchestrators.base import Orchestrator
from scaler.orchestrators.pooled import Pooled
from scaler.orchestrators.swarm.engine import DirectEngine
from scaler.orchestrators.swarm.gateway_engine import GatewayEngine
from scaler.orchestrators.swarm.orchestrator import Swarm
from tests.support.fault_proxy import FaultProxy
from tests.support.matrix import MatrixCell, MatrixPart, MatrixState, cells
from tests.support.matrix_run import ENDLESS_HTTP, MOST, CellRun, tell
from tests.support.matrix_world import MatrixCrew, MatrixWorld
from tests.support.waiting import until
from tests.swarm.crew import WORK
from tests.swarm.engine import Engine
from tests.swarm.images import BASE

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

_CELLS = [cell for cell in cells() if cell.part is MatrixPart.DOCKER]
_BY_GATEWAY = (MatrixState.WARM, MatrixState.BURST)
_TOKEN = "a-token-for-the-matrix-only"
_AT_ONCE = 8


class ServiceFleet:
    """A service of as many workers as the cell has at first."""

    def __init__(self, engine: Engine, run: CellRun) -> None:
        self.crew: MatrixCrew = run.crew
        self._engine, self._api = engine, engine.api
        self.name, count = run.cell.name, len(run.crew.states)
        engine.cli(
            "service", "create", "--detach", "--name", self.name, "--replicas", str(count),
            "--restart-condition", "on-failure", "--stop-grace-period", "20s",
            "--no-resolve-image", "--network", "host",
            "--label", "autoscaler.enable=true", "--label", f"autoscaler.max={MOST}",
            BASE, "sh", "-c", WORK.format(slow=0),
        )  # fmt: skip
        run.callback(self._api.remove_service, self.name)
        until(lambda: len(self._running()) == count, f"{count} workers of {self.name}")
        tasks = sorted(self._running())
        self.crew.tasks = dict(zip(self.crew.states, tasks, strict=True))

    def count(self) -> int:
        service: Any = self._api.inspect_service(self.name)
        return int(service["Spec"]["Mode"]["Replicated"]["Replicas"])

    def leave(self, worker: str) -> None:
        self._api.kill(self._running()[self.crew.tasks[worker]], "USR1")
        until(lambda: self.crew.tasks[worker] not in self._running(), f"{worker} having left")

    def alive(self) -> set[str]:
        return set(self._running())

    def _running(self) -> dict[str, str]:
        """The containers of the tasks that run and are to run."""
        tasks = self._api.tasks(filters={"service": self.name, "desired-state": "running"})
        return {
            task["ID"]: task["Status"]["ContainerStatus"]["ContainerID"]
            for task in tasks
            if task["Status"]["State"] == "running"
        }


class EngineFleet(ServiceFleet):
    """Reached through a proxy before the engine's socket, or before the gateway."""

    def __init__(self, engine: Engine, run: CellRun, gateway_port: int) -> None:
        super().__init__(engine, run)
        by_gateway = run.cell.state in _BY_GATEWAY
        behind = gateway_port if by_gateway else str(engine.socket)
        run.proxy = run.enter_context(FaultProxy(behind, endless=ENDLESS_HTTP))
        port = run.proxy.port
        self.orchestrator: Orchestrator = Pooled(
            Swarm(
                GatewayEngine(f"http://127.0.0.1:{port}", _TOKEN)
                if by_gateway
                else DirectEngine(f"tcp://127.0.0.1:{port}", min_grace_s=1.0)
            )
        )
        run.callback(self.orchestrator.close)


def in_swarm(
    world: MatrixWorld, cell: MatrixCell, folder: Path, engine: Engine, gateway_port: int
) -> str:
    with CellRun(world, cell, folder) as run:
        run.people()
        run.prepare(EngineFleet(engine, run, gateway_port))
        return run.run()


@pytest.fixture(scope="module")
def swarm_outcomes(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[dict[MatrixCell, Future[str]]]:
    """All cells, side by side."""
    folder = tmp_path_factory.mktemp("matrix")
    (port,) = free_ports(1)
    with MatrixWorld(folder) as world, ThreadPoolExecutor(_AT_ONCE) as pool:
        world.stack.spawn(
            "gateway",
            [sys.executable, "-m", "scaler.gateway"],
            {
                "DOCKER_HOST": engine.host,
                "GATEWAY_TOKEN": _TOKEN,
                "GRACEFUL_SHUTDOWN_TIMEOUT": "10",
                "HTTP_HOST": "127.0.0.1",
                "HTTP_PORT": str(port),
            },
            ready_url=f"http://127.0.0.1:{port}/-/healthy",
        )
        running = {
            cell: pool.submit(in_swarm, world, cell, folder, engine, port) for cell in _CELLS
        }
        yield running
    tell(pytestconfig, running)
    with contextlib.suppress(docker.errors.DockerException):
        until(lambda: not engine.api.containers(quiet=True), "containers ending")


@pytest.mark.parametrize("cell", _CELLS, ids=str)
def test_in_each_cell_of_docker_the_promises_hold(
    swarm_outcomes: dict[MatrixCell, Future[str]], cell: MatrixCell
) -> None:
    assert swarm_outcomes[cell].result() == cell.outcome
