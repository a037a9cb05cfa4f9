"""What the engine answers, and does not: one call a cycle, and nobody suffers for another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from scaler.gateway.listener import GatewayServer
from scaler.gateway.service import Gateway
from scaler.orchestrators.errors import OrchestratorError
from scaler.orchestrators.pooled import Pooled
from scaler.orchestrators.swarm import engine as engine_module
from scaler.orchestrators.swarm.engine import DirectEngine
from scaler.orchestrators.swarm.gateway_engine import GatewayEngine
from scaler.orchestrators.swarm.orchestrator import Swarm
from scaler.policy.observation import Worker, WorkerCondition
from scaler.policy.target import Pool, Target
from tests.support.engine_standin import EngineStandin, Handler
from tests.support.hostile import TOKEN

LONG_S, SHORT_S = 60.0, 0.5


@pytest.fixture
def standin() -> Iterator[EngineStandin]:
    with EngineStandin() as made:
        yield made


@pytest.fixture
def engine(standin: EngineStandin) -> Iterator[DirectEngine]:
    made = DirectEngine(standin.host, min_grace_s=300, timeout_s=LONG_S)
    yield made
    made.close()


@pytest.fixture
def direct(engine: DirectEngine) -> Swarm:
    return Swarm(engine)


@pytest.fixture
def through(engine: DirectEngine) -> Iterator[Swarm]:
    registry = CollectorRegistry()
    gateway = Gateway(engine, min_workers=0, max_workers=10, registry=registry)
    with GatewayServer(gateway, TOKEN, registry, host="127.0.0.1", port=0) as server:
        client = GatewayEngine(f"http://127.0.0.1:{server.port}", TOKEN, timeout_s=LONG_S)
        yield Swarm(client)
        client.close()


@contextmanager
def misbehaving(
    standin: EngineStandin, engine: DirectEngine, fault: Callable[[Handler], None]
) -> Iterator[None]:
    """Meanwhile the engine is waited for only for a moment, where it is one that hangs."""
    standin.fault = fault
    if fault in HANGING:
        engine.timeout_s = SHORT_S
    yield
    engine.timeout_s = LONG_S
    standin.fault = None


@pytest.fixture(params=["direct", "through"])
def swarm(request: pytest.FixtureRequest) -> Swarm:
    """A Swarm, spoken to directly or through the gateway."""
    made: Swarm = request.getfixturevalue(request.param)
    return made


def target(service: str) -> Target:
    return Target(name=service, service=service, min_workers=0)


def said(swarm: Swarm, service: str) -> str:
    with pytest.raises(OrchestratorError) as caught:
        swarm.fleet(target(service), [])
    return str(caught.value)


def running(swarm: Swarm, service: str) -> int:
    return swarm.fleet(target(service), []).facts.running


def test_a_cycle_of_many_targets_asks_twice(swarm: Swarm, standin: EngineStandin) -> None:
    targets = [target(f"service{number}") for number in range(100)]
    for one in targets:
        standin.add(one.service, 3)
    swarm.refresh(targets)
    assert [swarm.fleet(one, []).facts.running for one in targets] == [3] * 100
    assert len(swarm.discover()) == 100
    standin.requests.remove("GET /version")
    assert standin.requests == ["GET /services", "GET /tasks"]


def test_nodes_are_asked_for_where_a_task_is_about_to_be_removed(
    direct: Swarm, standin: EngineStandin
) -> None:
    standin.add("one", 2)
    standin.tasks[1]["DesiredState"] = "remove"
    standin.nodes = [{"ID": "n1", "Status": {"State": "ready"}}]
    direct.refresh([])
    assert standin.requests[-1] == "GET /nodes"
    assert "after SIGTERM" in str(direct.fleet(target("one"), []).facts.hold)
    standin.nodes = [{"ID": "n1", "Status": {"State": "down"}}]
    direct.refresh([])
    assert direct.fleet(target("one"), []).facts.hold is None
    standin.nodes = [None, {"ID": "n1"}, {"Status": {"State": "down"}}]
    direct.refresh([])
    assert direct.fleet(target("one"), []).facts.hold, "whose state is not known may answer"


def test_pools_are_in_the_same_look(direct: Swarm, standin: EngineStandin) -> None:
    pools = [Pool(service=name, price=n, max_workers=9) for n, name in enumerate("ab")]
    both = Target(min_workers=0, pools=tuple(pools))
    standin.add("a", 2)
    standin.add("b", 1)
    pooled = Pooled(direct)
    pooled.refresh([both])
    assert pooled.fleet(both, None).facts.running == 3
    assert standin.requests.count("GET /services") == 1


def test_before_the_first_look_nothing_is_known(swarm: Swarm, standin: EngineStandin) -> None:
    assert "not been looked at" in said(swarm, "one")
    assert standin.requests == []


def test_a_service_is_found_by_name_id_or_the_beginning_of_its_id(
    swarm: Swarm, standin: EngineStandin
) -> None:
    identity = standin.add("one", 2)["ID"]
    standin.add("onward", 1)
    swarm.refresh([])
    for name in ("one", identity, identity[:5]):
        assert running(swarm, name) == 2
    assert "'on'" in said(swarm, "on"), "of two alike none is meant"


def test_a_service_that_two_targets_claim_is_neithers(swarm: Swarm, standin: EngineStandin) -> None:
    identity = standin.add("one")["ID"]
    standin.add("two")
    by_name, by_id = target("one"), Target(name="again", service=identity)
    swarm.refresh([by_name, by_id, target("two")])
    for each in (by_name, by_id):
        with pytest.raises(OrchestratorError, match="one is claimed by the targets again and one"):
            swarm.fleet(each, [])
    assert running(swarm, "two") == 1


def test_what_is_not_there_or_has_not_opted_in_is_said(
    direct: Swarm, through: Swarm, standin: EngineStandin
) -> None:
    standin.add("shy")["Spec"]["Labels"] = {}
    for swarm in (direct, through):
        swarm.refresh([])
    assert running(direct, "shy") == 1
    assert "'shy' is not there, or has not opted in" in said(through, "shy")
    assert "'gone' is none of the Swarm's" in said(direct, "gone")


UNREADABLE: dict[str, Callable[[dict[str, Any]], object]] = {
    "no version": lambda service: service.pop("Version"),
    "a version that is none": lambda service: service.update(Version={"Index": "x"}),
    "an infinite version": lambda service: service.update(Version={"Index": float("inf")}),
    "a list for a version": lambda service: service.update(Version=[]),
    "a count that is none": lambda service: service["Spec"]["Mode"].update(
        Replicated={"Replicas": {}}
    ),
    "a mode that is none": lambda service: service["Spec"].update(Mode="Replicated"),
    "labels that are no texts": lambda service: service["Spec"]["Labels"].update(x=5),
    "a template that is none": lambda service: service["Spec"].update(TaskTemplate=[1]),
    "a grace period that is none": lambda service: service["Spec"]["TaskTemplate"].update(
        ContainerSpec={"StopGracePeriod": "long"}
    ),
    "a bound that is none": lambda service: service["Spec"]["Labels"].update(
        {"autoscaler.max": "many"}
    ),
    "another mode": lambda service: service["Spec"].update(Mode={"Global": {}}),
}


@pytest.mark.parametrize("spoil", UNREADABLE.values(), ids=UNREADABLE)
def test_a_service_that_cannot_be_read_is_unknown_and_no_other(
    swarm: Swarm, standin: EngineStandin, spoil: Callable[[dict[str, Any]], object]
) -> None:
    standin.add("well", 2)
    spoil(standin.add("ill", 3))
    standin.add("fine", 1)
    standin.services[1:1] = [None, 5, {}, {"ID": 3}, []]
    swarm.refresh([])
    assert "ill" in said(swarm, "ill")
    assert (running(swarm, "well"), running(swarm, "fine")) == (2, 1)
    assert {"well", "fine"} <= {offer.service for offer in swarm.discover()}


TASKS: dict[str, Any] = {
    "no id": {"Slot": 1},
    "a slot that is none": {"ID": "t", "Slot": "first"},
    "a status that is none": {"ID": "t", "Status": "running"},
}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_that_cannot_be_read_makes_its_own_service_unknown(
    swarm: Swarm, standin: EngineStandin, task: dict[str, Any]
) -> None:
    standin.add("well")
    ill = standin.add("ill")
    standin.tasks.append({**task, "ServiceID": ill["ID"]})
    standin.tasks.append({"ID": "of a container at an attachable network"})
    swarm.refresh([])
    assert "'ill' can't be read" in said(swarm, "ill")
    assert running(swarm, "well") == 1


def test_a_task_of_nobody_knows_whom_leaves_nobody_out(
    swarm: Swarm, standin: EngineStandin
) -> None:
    standin.add("one")
    standin.tasks.append(None)
    swarm.refresh([])
    assert "1 tasks" in said(swarm, "one")


def hang(handler: Handler) -> None:
    """No answer, until the client has gone."""
    handler.connection.recv(1)
    handler.close_connection = True


def drip(*pieces: bytes) -> Callable[[Handler], None]:
    """The pieces, and then the last one again and again, for as long as somebody listens."""

    def drop(handler: Handler) -> None:
        *first, last = pieces
        for piece in first:
            handler.wfile.write(piece)
        while True:
            handler.wfile.write(last)
            time.sleep(0.02)

    return drop


def closed(handler: Handler) -> None:
    handler.close_connection = True


def answered(status: int, content: Any) -> Callable[[Handler], None]:
    return lambda handler: handler.say(status, content)


HEAD = b"HTTP/1.1 200 OK\r\n"
SLOW: dict[str, Callable[[Handler], None]] = {
    "hangs": hang,
    "drips its head": drip(HEAD + b"X: ", b"y"),
    "drips its body": drip(HEAD + b"Content-Length: 999999\r\n\r\n[", b" "),
    "breaks off": drip(HEAD + b"Content-Length: 5\r\n\r\n[", b""),
}
HANGING = list(SLOW.values())
FAULTS: dict[str, Callable[[Handler], None]] = {
    **SLOW,
    "closes": closed,
    "speaks another tongue": drip(b"220 smtp ready\r\n", b""),
    "babbles": drip(b"\x1b[31m" * 20_000 + b"\r\n", b""),
    "is no JSON": answered(200, b"<html>"),
    "is nested without end": answered(200, b"[" * 100_000),
    "is no list": answered(200, {"message": "hello"}),
    "is nothing": answered(200, b""),
    "is null": answered(200, None),
    "is no text": answered(200, b"[\xff\xfe]"),
    "is a number of many digits": answered(200, b"[" + b"9" * 10_000 + b"]"),
    "fails": answered(500, {"message": "context deadline exceeded"}),
    "fails without a word": answered(503, b""),
    "fails in another tongue": answered(500, b"\xff" * 1000),
    "leads elsewhere": answered(302, b""),
    "is too large": answered(200, b"[" + b" " * 200_000 + b"]"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_an_engine_that_misbehaves_is_unknown_in_time_and_then_known_again(
    direct: Swarm,
    engine: DirectEngine,
    standin: EngineStandin,
    fault: Callable[[Handler], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_module, "LARGEST", 100_000)
    standin.add("one", 2)
    for _ in range(2):
        with misbehaving(standin, engine, fault), pytest.raises(OrchestratorError) as caught:
            direct.refresh([])
        assert len(str(caught.value)) < 600
        assert str(caught.value).isprintable()
        asked = len(standin.requests)
        assert said(direct, "one") == str(caught.value)
        with pytest.raises(OrchestratorError):
            direct.discover()
        assert len(standin.requests) == asked, "nobody asks again before the next look"
        direct.refresh([])
        assert running(direct, "one") == 2


def test_a_hanging_engine_costs_one_time_out_however_many_targets(
    swarm: Swarm, engine: DirectEngine, standin: EngineStandin
) -> None:
    targets = [target(f"service{number}") for number in range(50)]
    for one in targets:
        standin.add(one.service)
    swarm.refresh(targets)
    handles = [swarm.fleet(one, []) for one in targets]
    asked = len(standin.requests)
    with misbehaving(standin, engine, hang):
        for handle in handles:
            with pytest.raises(OrchestratorError, match="not answer"):
                handle.scale_up(2)
    assert len(standin.requests) == asked + 1
    with pytest.raises(OrchestratorError, match="not answer"):
        handles[0].scale_up(2)
    swarm.refresh(targets)
    said = swarm.fleet(targets[0], []).scale_up(2)
    assert said == "service0: replicas 1 -> 2"


def test_a_refusal_for_one_is_no_reason_not_to_ask_for_another(
    swarm: Swarm, standin: EngineStandin
) -> None:
    standin.add("one")
    standin.add("two")
    swarm.refresh([])

    def refuse(handler: Handler) -> None:
        if "POST" in handler.command and "oneid" in handler.path:
            handler.say(400, {"message": "no\nway"})
        else:
            handler.obey()

    standin.fault = refuse
    with pytest.raises(OrchestratorError, match="refused"):
        swarm.fleet(target("one"), []).scale_up(2)
    assert swarm.fleet(target("two"), []).scale_up(2) == "two: replicas 1 -> 2"


def test_a_change_whose_answer_is_lost_is_not_said_to_be_none(
    swarm: Swarm, standin: EngineStandin
) -> None:
    standin.add("one")

    def die(handler: Handler) -> None:
        if handler.command == "POST":
            handler.server.answer("POST", handler.path, handler.content)
            handler.close_connection = True
        else:
            handler.obey()

    standin.fault = die
    swarm.refresh([])
    with pytest.raises(OrchestratorError, match="whether replicas are 3 by now is not known"):
        swarm.fleet(target("one"), []).scale_up(3)
    assert standin.replicas("one") == 3


def test_a_change_that_is_made_is_said_whatever_the_engine_says_of_it(
    direct: Swarm, standin: EngineStandin
) -> None:
    standin.add("one")

    def babble(handler: Handler) -> None:
        if handler.command == "POST":
            handler.server.answer("POST", handler.path, handler.content)
            handler.say(200, b"{")
        else:
            handler.obey()

    standin.fault = babble
    direct.refresh([])
    assert direct.fleet(target("one"), []).scale_up(3) == "one: replicas 1 -> 3"


def test_who_leads_no_more_changes_nothing(swarm: Swarm, standin: EngineStandin) -> None:
    """Whether the lease has run out before the change begins, or in its midst."""
    standin.add("one", 3)
    standin.tasks[2].update(DesiredState="shutdown")
    standin.tasks[2]["Status"]["State"] = "complete"
    led = threading.Event()

    def fence() -> None:
        if not led.is_set():
            raise OrchestratorError("another may lead")

    swarm.fence = fence
    swarm.refresh([])
    handle = swarm.fleet(target("one"), [])
    for change in (handle.reconcile, lambda: handle.scale_up(9)):
        with pytest.raises(OrchestratorError, match="another may lead"):
            change()
    assert not [asked for asked in standin.requests if "POST" in asked]
    led.set()
    assert handle.reconcile() == "one: replicas 3 -> 2, an empty slot"


def test_of_workers_nobody_has_told_of_those_that_do_not_run_are_starting(
    swarm: Swarm, standin: EngineStandin
) -> None:
    standin.add("one", 3)
    standin.tasks[0]["Status"]["State"] = "preparing"
    swarm.refresh([])
    facts = swarm.fleet(target("one"), None).facts
    assert (facts.running, facts.starting, facts.draining) == (3, 1, 0)
    worker = Worker("w", WorkerCondition.IDLE, 0.0, task="one.2")
    assert swarm.fleet(target("one"), [worker]).facts.starting == 2
