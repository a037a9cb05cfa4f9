"""The gateway before a real engine: what passes, what does not, and what reaches the socket."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from scaler.gateway.listener import GatewayServer
from scaler.gateway.service import Gateway
from scaler.orchestrators.errors import OrchestratorError
from scaler.orchestrators.swarm.engine import DirectEngine
from scaler.orchestrators.swarm.gateway_engine import GatewayEngine
from scaler.orchestrators.swarm.orchestrator import Swarm
from scaler.policy.observation import Worker, WorkerCondition
from scaler.policy.target import Target
from tests.support.handles import looked
from tests.support.hostile import TOKEN, hostile, send
from tests.support.waiting import until
from tests.swarm.crew import Crew, spec_of

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

_REQUEST_LINE = re.compile(rb"^[A-Z]+ \S+ HTTP/1\.1", re.MULTILINE)
_OPTED_IN = ("--label", "autoscaler.enable=true", "--label", "autoscaler.max=6")


class Tap:
    """A socket before the engine's own that keeps every request line which passes."""

    def __init__(self, engine: Path, path: Path) -> None:
        self.lines: list[bytes] = []
        self._engine = engine
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(str(self._engine))
            threading.Thread(target=self._pipe, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._pipe, args=(far, near, False), daemon=True).start()

    def _pipe(self, source: socket.socket, sink: socket.socket, note: bool) -> None:
        with sink, suppress(OSError):  # the other direction has closed them
            while chunk := source.recv(65536):
                if note:
                    self.lines += _REQUEST_LINE.findall(chunk)
                sink.sendall(chunk)


@pytest.fixture
def tap(crew: Crew) -> Iterator[Tap]:
    path = crew.manager.scratch / "tap.sock"
    made = Tap(crew.manager.socket, path)
    yield made
    made.close()
    path.unlink()


@pytest.fixture
def port(crew: Crew, tap: Tap) -> Iterator[int]:
    registry = CollectorRegistry()
    engine = DirectEngine(f"unix://{crew.manager.scratch}/tap.sock", min_grace_s=1)
    gateway = Gateway(engine, min_workers=1, max_workers=10, registry=registry)
    with GatewayServer(gateway, TOKEN, registry, host="127.0.0.1", port=0) as server:
        yield server.port


@pytest.fixture
def client(port: int) -> GatewayEngine:
    return GatewayEngine(f"http://127.0.0.1:{port}", TOKEN)


def test_hostile_requests_never_reach_the_socket(
    crew: Crew, tap: Tap, port: int, client: GatewayEngine
) -> None:
    crew.create("workers", 1, *_OPTED_IN)
    crew.create("database", 1)
    seen, before = client.view("workers"), spec_of(crew.manager, "workers")
    tap.lines.clear()
    requests = hostile(seen.id, seen.version, crew.view("database").id)
    for name, raw in requests.items():
        answer = send(port, raw)
        assert not answer or answer.split(b" ")[1] >= b"400", f"{name}: {answer!r}"
        assert tap.lines == [], name
    assert spec_of(crew.manager, "workers") == before
    assert crew.view("database").replicas == 1


def test_all_that_the_scaler_does_passes(crew: Crew, tap: Tap, client: GatewayEngine) -> None:
    crew.create("through", 2, *_OPTED_IN)
    swarm, target = Swarm(client), Target(service="through", min_workers=1, max_workers=6)
    assert looked(swarm, target).scale_up(4) == "through: replicas 2 -> 4"
    crew.settled("through", running=4)
    workers = [
        Worker(task, WorkerCondition.IDLE, 0.0, task=task) for task in crew.running("through")
    ]
    handle = looked(swarm, target, workers)
    assert handle.facts.running == 4
    leaver = handle.victims(workers, 1)[0]
    crew.leave(leaver.task)
    assert looked(swarm, target).reconcile() == "through: replicas 4 -> 3, an empty slot"
    crew.removed(swarm, target)
    crew.settled("through", running=3)
    kinds = {re.sub(rb"^[A-Z]+ (/v[0-9.]+)?/([a-z]+).*", rb"\2", line) for line in tap.lines}
    assert kinds <= {b"version", b"services", b"tasks", b"nodes"}


def test_what_would_stop_a_worker_or_is_not_opted_in_does_not_pass(
    crew: Crew, client: GatewayEngine
) -> None:
    crew.create("guarded", 3, *_OPTED_IN)
    crew.create("other", 1)
    with pytest.raises(OrchestratorError, match="somebody is in"):
        client.set_replicas(client.view("guarded"), 2)
    with pytest.raises(OrchestratorError, match="above the maximum 6"):
        client.set_replicas(client.view("guarded"), 7)
    with pytest.raises(OrchestratorError, match="not opted in"):
        client.view("other")
    assert [entry.name for entry in client.listing().opted_in] == ["guarded"]
    assert len(crew.running("guarded")) == 3


def test_a_service_opts_in_and_out_while_all_runs(crew: Crew, client: GatewayEngine) -> None:
    crew.create("late", 1)
    label = ("service", "update", "--detach")
    crew.manager.cli(*label, "--label-add", "autoscaler.enable=true", "late")
    until(lambda: not client.view("late").hold, "in")
    client.set_replicas(client.view("late"), 2)
    crew.manager.cli(*label, "--label-rm", "autoscaler.enable", "late")
    with pytest.raises(OrchestratorError, match="not opted in"):
        client.view("late")
