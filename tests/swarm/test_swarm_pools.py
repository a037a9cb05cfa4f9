"""Pools as services of a real Swarm, through the gateway: what finds no node is asked for
elsewhere, and the dear ones are given back first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from scaler.gateway.listener import GatewayServer
from scaler.gateway.service import Gateway
from scaler.orchestrators.base import FleetHandle
from scaler.orchestrators.pooled import Pooled
from scaler.orchestrators.swarm.gateway_engine import GatewayEngine
from scaler.orchestrators.swarm.orchestrator import Swarm
from scaler.policy.observation import Fleet, Obstacle, Worker, WorkerCondition
from scaler.policy.target import Pool, Target
from tests.support.handles import looked
from tests.support.hostile import TOKEN
from tests.support.waiting import until
from tests.swarm.crew import Crew

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

TARGET = Target(
    max_workers=8,
    pools=(
        Pool(service="reserved", price=1, max_workers=5, pending_after=60),
        Pool(service="spot", price=3, max_workers=5),
    ),
)
_LABELS = ("--label", "autoscaler.enable=true", "--label", "autoscaler.min=0")


class Pools:
    """Two services of one target, with a clock of their own."""

    def __init__(self, crew: Crew, engine: GatewayEngine) -> None:
        self.crew = crew
        self.now = 0.0
        self.pooled = Pooled(Swarm(engine), clock=lambda: self.now)

    def idle(self) -> list[Worker]:
        """Every running worker, idle."""
        running = sorted(self.crew.running("reserved") | self.crew.running("spot"))
        return [Worker(task, WorkerCondition.IDLE, 0.0, task=task) for task in running]

    def look(self) -> FleetHandle:
        return looked(self.pooled, TARGET, self.idle())

    def fleet(self) -> Fleet:
        return self.look().facts

    def counts(self) -> list[int]:
        return [pool.running for pool in self.fleet().pools]

    def _settled(self) -> bool:
        self.look().reconcile()
        return not self.fleet().dead

    def shrink(self, count: int) -> list[str]:
        """Have so many leave as the controller would; the services that they were of."""
        handle = self.look()
        spot = self.crew.running("spot")
        leavers = [worker.task for worker in handle.victims(self.idle(), count)]
        for task in leavers:
            self.crew.leave(task)
        until(self._settled, "empty slots given back")
        for name in ("reserved", "spot"):
            self.crew.settled(name)
        return ["spot" if task in spot else "reserved" for task in leavers]


@pytest.fixture
def gateway(crew: Crew) -> Iterator[GatewayEngine]:
    registry = CollectorRegistry()
    gateway = Gateway(crew.direct, min_workers=1, max_workers=10, registry=registry)
    with GatewayServer(gateway, TOKEN, registry, host="127.0.0.1", port=0) as server:
        engine = GatewayEngine(f"http://127.0.0.1:{server.port}", TOKEN)
        yield engine
        engine.close()


def test_what_finds_no_node_spills_over_and_the_dear_are_given_back_first(
    crew: Crew, gateway: GatewayEngine
) -> None:
    limits = ("--label", "autoscaler.max=3", "--constraint", "node.labels.reserved==yes")
    crew.create("reserved", 0, *_LABELS, *limits)
    crew.create("spot", 0, *_LABELS)
    pools = Pools(crew, gateway)
    handle = pools.look()
    assert handle.facts.running == 0
    said = handle.scale_up(4)
    assert said == "reserved: replicas 0 -> 3; spot: replicas 0 -> 1"
    crew.settled("spot", running=1)
    until(lambda: pools.fleet().obstacle_kind is Obstacle.NO_NODE, "said to be in the way")
    assert (pools.fleet().running, pools.fleet().pending) == (4, 3), "it is waited for"

    pools.now += 60
    assert pools.counts() == [0, 1]
    handle = pools.look()
    assert handle.facts.pools[0].pending == 3
    said = handle.scale_up(4)
    assert said == "reserved no place for more within 60 s; spot: replicas 1 -> 4"
    crew.settled("spot", running=4)
    assert pools.counts() == [0, 4]

    (node,) = crew.manager.api.nodes()
    crew.manager.cli("node", "update", "--label-add", "reserved=yes", node["ID"])
    try:
        crew.settled("reserved", running=3)
        assert pools.counts() == [3, 4]
        assert pools.shrink(3) == ["spot"] * 3
        assert pools.shrink(2) == ["spot", "reserved"]
        assert pools.counts() == [2, 0]
        assert (crew.view("reserved").replicas, crew.view("spot").replicas) == (2, 0)
        assert set(crew.exits.values()) == {0}
    finally:
        crew.manager.cli("node", "update", "--label-rm", "reserved", node["ID"])


def test_a_pool_can_shrink_although_some_of_it_have_no_node(
    crew: Crew, gateway: GatewayEngine
) -> None:
    crew.create("reserved", 2, *_LABELS, "--replicas-max-per-node", "2")
    crew.create("spot", 0, *_LABELS)
    pools = Pools(crew, gateway)
    handle = pools.look()
    assert handle.facts.running == 2
    handle.scale_up(3)
    until(lambda: pools.fleet().obstacle_kind is Obstacle.NO_NODE, "said to be in the way")
    stays, leaves = sorted(crew.running("reserved"))
    idle = [Worker(leaves, WorkerCondition.IDLE, 0, task=leaves)]
    crew.leave(pools.look().victims(idle, 1)[0].id)

    def replaced() -> bool:
        running = crew.running("reserved")
        return len(running) == 2 and leaves not in running

    until(replaced, "its place taken", explain=lambda: crew.describe("reserved"))
    assert stays in crew.running("reserved")
    assert pools.fleet().pending == 0
    until(lambda: pools.look().reconcile(), "an empty slot given back")
    crew.settled("reserved", running=2)
    assert set(crew.exits.values()) == {0}
