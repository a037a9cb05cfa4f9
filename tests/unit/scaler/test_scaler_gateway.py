"""The gateway lets one number through."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from scaler.gateway.guard import refusal
from scaler.gateway.listener import GatewayServer
from scaler.gateway.service import FRESH_S, Gateway
from scaler.orchestrators.base import OrchestratorError
from scaler.orchestrators.swarm.engine import StaleVersionError, unfenced
from scaler.orchestrators.swarm.gateway_engine import GatewayEngine
from scaler.orchestrators.swarm.listing import Listing
from scaler.orchestrators.swarm.removal_order import Task
from scaler.orchestrators.swarm.service_view import ServiceView
from tests.support.hostile import TOKEN, hostile, request, send
from tests.support.swarm_services import listing_of

DEFAULTS = {"min": 1, "max": 10}
ID = "abcdefghijklmnopqrstuvwxy"
OTHER = "zyxwvutsrqponmlkjihgfedcb"


def tasks(*states: str) -> tuple[Task, ...]:
    desired = {"complete": "shutdown"}
    return tuple(
        Task(f"t{n}", n, "node", state, desired.get(state, "running"), 0.0)
        for n, state in enumerate(states, 1)
    )


def service(*states: str, **changes: Any) -> ServiceView:
    made = ServiceView(
        id=ID,
        name="workers",
        version=7,
        replicas=len(states),
        labels={"autoscaler.enable": "true", "autoscaler.max": "6"},
        tasks=tasks(*states),
        hold=None,
    )
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("seen", "count", "words"),
    [
        (service("running", labels={}), 2, "not opted in"),
        (service("running", labels={"autoscaler.enable": "false"}), 2, "not opted in"),
        (service("running"), 1, "already has 1"),
        (service("running"), 7, "above the maximum 6"),
        (service("running", "complete"), 8, "above the maximum 6 plus 1 empty slots"),
        (service("running", "running"), 0, "below the minimum 1"),
        (service("running", hold="a roll-out is running"), 2, "a roll-out is running"),
        (service("running", "running", "running"), 1, "one at a time"),
        (service("running", "running"), 1, "a slot that somebody is in"),
        (service("running", "complete", replicas=3), 2, "not caught up"),
        (service("running", labels={"autoscaler.enable": "true", "autoscaler.max": "x"}), 2, "'x'"),
    ],
)
def test_refused(seen: ServiceView, count: int, words: str) -> None:
    assert words in (refusal(seen, count, DEFAULTS) or "")


@pytest.mark.parametrize(
    ("seen", "count"),
    [
        (service("running"), 6),
        (service("running", "complete"), 7),
        (service("running", "complete"), 1),
        (service("running", labels={"autoscaler.enable": "true"}), 10),
    ],
)
def test_let_through(seen: ServiceView, count: int) -> None:
    assert refusal(seen, count, DEFAULTS) is None


class Engine:
    """Keeps one service in memory and counts who asks."""

    def __init__(self) -> None:
        self.seen = service("running")
        self.calls = 0
        self.broken = False

    def view(self, name: str) -> ServiceView:
        self.calls += 1
        if self.broken:
            raise OrchestratorError("the Docker engine does not answer")
        return self.seen if name in (ID, "workers") else replace(self.seen, id=OTHER, labels={})

    def listing(self) -> Listing:
        self.calls += 1
        return listing_of(self.seen)

    def set_replicas(
        self, seen: ServiceView, replicas: int, fence: Callable[[], None] = unfenced
    ) -> None:
        fence()
        self.calls += 1
        states = ("running",) * replicas
        self.seen = service(*states, version=self.seen.version + 1)

    def close(self) -> None:
        pass


@pytest.fixture
def engine() -> Engine:
    return Engine()


class Seconds:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def port(engine: Engine, clock: Seconds) -> Iterator[int]:
    registry = CollectorRegistry()
    gateway = Gateway(engine, min_workers=1, max_workers=10, registry=registry, clock=clock)
    with GatewayServer(gateway, TOKEN, registry, host="127.0.0.1", port=0) as server:
        yield server.port


@pytest.fixture
def client(port: int) -> Iterator[GatewayEngine]:
    made = GatewayEngine(f"http://127.0.0.1:{port}", TOKEN)
    yield made
    made.close()


def test_the_scalers_own_work_passes(engine: Engine, client: GatewayEngine) -> None:
    assert client.view("workers") == engine.seen
    assert [entry.read() for entry in client.listing().opted_in] == [engine.seen]
    client.set_replicas(client.view("workers"), 4)
    assert engine.seen.replicas == 4


def test_a_stale_version_is_told_as_such(engine: Engine, client: GatewayEngine) -> None:
    old = client.view("workers")
    engine.seen = replace(engine.seen, version=8)
    with pytest.raises(StaleVersionError):
        client.set_replicas(old, 4)
    assert engine.seen.replicas == 1


def test_a_change_that_comes_long_after_its_look_is_refused(
    engine: Engine, client: GatewayEngine, clock: Seconds
) -> None:
    """Whoever decided on it may have been stopped, and another may lead."""
    old = client.view("workers")
    clock.now += FRESH_S + 0.1
    client.view("workers")
    with pytest.raises(OrchestratorError, match="workers was looked at more than 3 s ago"):
        client.set_replicas(old, 4)
    assert engine.seen.replicas == 1
    fresh = client.view("workers")
    clock.now += FRESH_S - 0.1
    client.set_replicas(fresh, 4)
    assert engine.seen.replicas == 4
    fresh, clock.now = client.view("workers"), 5.0
    with pytest.raises(OrchestratorError, match="ago"):
        client.set_replicas(fresh, 5)  # a look at the gateway of before its restart


def test_a_change_that_the_gateway_itself_holds_for_long_is_refused(
    engine: Engine, client: GatewayEngine, clock: Seconds
) -> None:
    def slow(self: Engine, name: str) -> ServiceView:
        clock.now += FRESH_S + 0.1
        return self.seen

    old = client.view("workers")
    engine.view = slow.__get__(engine)  # type: ignore[method-assign]
    with pytest.raises(OrchestratorError, match="looked at more than"):
        client.set_replicas(old, 4)
    assert engine.seen.replicas == 1


def test_a_scaler_that_does_not_say_when_it_looked_is_served(
    engine: Engine, client: GatewayEngine, clock: Seconds
) -> None:
    old = replace(client.view("workers"), look=None)
    clock.now += 60
    client.set_replicas(old, 4)
    assert engine.seen.replicas == 4


def test_what_changed_since_it_was_read_is_judged_anew(
    engine: Engine, client: GatewayEngine
) -> None:
    old = client.view("workers")
    engine.seen = replace(old, hold="a roll-out is running")
    with pytest.raises(OrchestratorError, match="a roll-out is running"):
        client.set_replicas(old, 4)


def test_an_engine_that_is_away_is_told(engine: Engine, client: GatewayEngine) -> None:
    engine.broken = True
    with pytest.raises(OrchestratorError, match=r"502.*does not answer"):
        client.view("workers")


def test_services_that_did_not_opt_in_are_not_shown(client: GatewayEngine) -> None:
    with pytest.raises(OrchestratorError, match="not opted in"):
        client.view("database")


def refused(answer: bytes) -> bool:
    """One answer that says no; or none, where the rest of the request was never read."""
    statuses = re.findall(rb"HTTP/1\.1 (\d+)", answer)
    return not answer or (len(statuses) == 1 and statuses[0] >= b"400")


def test_hostile_requests_are_refused_and_never_reach_the_engine(
    engine: Engine, client: GatewayEngine, port: int
) -> None:
    seen = client.view("workers")
    calls = engine.calls
    requests = hostile(ID, seen.version, OTHER)
    assert len(requests) >= 30
    for name, raw in requests.items():
        assert refused(send(port, raw)), name
        assert engine.calls == calls, name
    assert engine.seen == seen
    assert send(port, request(f"GET /v1/services/{ID}", "Connection: close")).startswith(
        b"HTTP/1.1 200"
    )


def test_health_and_metrics_need_no_token(port: int) -> None:
    send(port, b"GET /v1/services HTTP/1.1\r\n\r\n")
    pages = {"/-/healthy": "ok", "/metrics": 'requests_total{outcome="refused"} 1'}
    for path, words in pages.items():
        url = f"http://127.0.0.1:{port}{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert words in answer.read().decode()
