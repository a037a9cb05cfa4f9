"""Pools over services in memory: what spills over, what is given back, what the loop says."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from scaler.loop.controller import Controller
from scaler.loop.history import History
from scaler.loop.metrics import ScalerMetrics
from scaler.loop.target_state import Cycle
from scaler.orchestrators.base import FleetHandle, Orchestrator, OrchestratorError
from scaler.orchestrators.dry_run import DryRun
from scaler.orchestrators.pooled import Pooled
from scaler.policy.decision import Applied, Decision
from scaler.policy.explain import explain
from scaler.policy.observation import (
    Fleet,
    Known,
    Observation,
    PoolFleet,
    Signal,
    Unknown,
    Worker,
    WorkerCondition,
)
from scaler.policy.schedule import bounds
from scaler.policy.target import Pool, Target
from scaler.prometheus.look import Seen
from tests.support.handles import Handle
from tests.support.remembering import as_kept, never_set

RESERVED = Pool(service="reserved", price=0.2, max_workers=4)
SPOT = Pool(service="spot", price=0.5, max_workers=6, pending_after=30)
TARGET = Target(min_workers=0, pools=(SPOT, RESERVED))


class Services(Orchestrator):
    """Services with so many places each; what cannot be placed stays pending."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waiting = 0
        self.places = {"reserved": 99, "spot": 99, "video-creator": 99}
        self.holds: dict[str, str] = {}
        self.yields: set[str] = set()
        self.obstacles: dict[str, str] = {}
        self.refuses: set[str] = set()
        self.reconciles: dict[str, str] = {}
        self.limits: dict[str, int] = {}
        self.states: dict[str, dict[str, str]] = {name: {} for name in self.places}
        self._numbers = count()

    def place(self) -> None:
        """Find places for those without, as far as there are any."""
        for service, crew in self.states.items():
            for name, state in crew.items():
                if state == "pending" and self.placed(service) < self.places[service]:
                    crew[name] = "idle"

    def placed(self, service: str) -> int:
        return sum(state != "pending" for state in self.states[service].values())

    # Signals

    def observe(self, target: Target) -> Observation:
        def known(value: float) -> Signal:
            return Known(value, 0.5, "q")

        states = [state for crew in self.states.values() for state in crew.values()]
        busy, unknown = states.count("busy"), Unknown("no sample", "q")
        # Who leaves may still have a job.
        busy += states.count("draining")
        return Observation(
            waiting=known(self.waiting),
            in_flight=known(busy),
            idle=known(states.count("idle")),
            arrival_rate=unknown,
            burstiness=unknown,
            mean_duration=unknown,
            startup=known(10.0),
            fleet=None,
        )

    def look(self, targets: Sequence[Target]) -> Mapping[str, Seen]:
        return {target.name: self.seen(target) for target in targets}

    def seen(self, target: Target) -> Seen:
        workers = self.workers(target)
        return Seen(self.observe(target), None if workers is None else tuple(workers))

    def workers(self, target: Target) -> list[Worker]:
        return [
            Worker(name, WorkerCondition(state), 0.0, task=name)
            for crew in self.states.values()
            for name, state in crew.items()
            if state != "pending"
        ]

    # Orchestrator

    def fleet(self, target: Target, workers: Sequence[Worker] | None) -> FleetHandle:
        states = list(self.states[target.service].values())
        running = len(states) - states.count("draining")
        facts = Fleet(
            running,
            running,
            draining=states.count("draining"),
            pending=states.count("pending"),
            hold=self.holds.get(target.service),
            obstacle=self.obstacles.get(target.service),
            hold_yields=target.service in self.yields,
            most=self.limits.get(target.service),
        )
        return Handle(facts, target, self)

    def scale_up(self, target: Target, running: int, *, urgent: bool = False) -> str:
        if target.service in self.refuses:
            raise OrchestratorError("refused")
        crew = self.states[target.service]
        before = sum(state != "draining" for state in crew.values())
        for _ in range(running - before):
            crew[f"{target.service}-{next(self._numbers)}"] = "pending"
        self.place()
        return f"{'urgently ' if urgent else ''}{target.service}: {before} -> {running}"

    def victims(self, target: Target, idle: Sequence[Worker], count: int) -> Sequence[Worker]:
        return [worker for worker in idle if worker.id in self.states[target.service]][:count]

    def reconcile(self, target: Target) -> str | None:
        if target.service in self.refuses:
            raise OrchestratorError("refused")
        return self.reconciles.get(target.service)

    # Ledger

    def request_drain(self, worker_id: str, reason: str, *, ttl_s: int = 60) -> bool:
        """The worker leaves at once."""
        crew = next(crew for crew in self.states.values() if worker_id in crew)
        return crew.pop(worker_id) == "idle"

    def withdraw_drain(self, worker_id: str) -> None:
        pass


@pytest.fixture
def services() -> Services:
    return Services()


@pytest.fixture
def pooled(services: Services) -> Pooled:
    return Pooled(services, clock=lambda: services.now)


def look(services: Services, pooled: Pooled) -> FleetHandle:
    return pooled.fleet(TARGET, services.workers(TARGET))


def counts(services: Services) -> tuple[int, int]:
    return len(services.states["reserved"]), len(services.states["spot"])


def raised(services: Services, pooled: Pooled, running: int) -> str:
    return look(services, pooled).scale_up(running)


def test_the_cheapest_is_filled_and_the_rest_goes_to_the_next(
    services: Services, pooled: Pooled
) -> None:
    raised(services, pooled, 3)
    assert counts(services) == (3, 0)
    said = raised(services, pooled, 6)
    assert counts(services) == (4, 2)
    assert said == "reserved: 3 -> 4; spot: 0 -> 2"
    assert raised(services, pooled, 7) == "reserved full; spot: 2 -> 3"
    fleet = look(services, pooled).facts
    assert (fleet.running, fleet.replicas) == (7, 7)
    assert [(pool.name, pool.running, pool.closed) for pool in fleet.pools] == [
        ("reserved", 4, "full"),
        ("spot", 3, ""),
    ]


def test_what_stays_without_a_place_is_asked_for_elsewhere_after_the_time_stated(
    services: Services, pooled: Pooled
) -> None:
    services.places["reserved"] = 1
    raised(services, pooled, 3)
    assert counts(services) == (3, 0)
    for _ in range(60):
        assert look(services, pooled).facts.running == 3, "it is waited for"
        services.now += 1
    handle = look(services, pooled)
    fleet = handle.facts
    assert (fleet.running, fleet.pending) == (1, 0), "those without a place no longer count"
    said = handle.scale_up(3)
    assert counts(services) == (3, 2)
    assert said == "reserved no place for more within 60 s; spot: 0 -> 2"
    assert look(services, pooled).facts.running == 3


def test_a_pool_that_has_places_again_counts_again_and_the_dear_one_is_given_back(
    services: Services, pooled: Pooled
) -> None:
    services.places["reserved"] = 1
    raised(services, pooled, 3)
    look(services, pooled)
    services.now += 61
    raised(services, pooled, 3)
    assert counts(services) == (3, 2)
    services.places["reserved"] = 4
    services.place()
    handle = look(services, pooled)
    assert handle.facts.running == 5
    leavers = handle.victims(services.workers(TARGET), 2)
    assert {worker.id.split("-")[0] for worker in leavers} == {"spot"}


def test_the_cheap_wait_while_the_dear_take_in_a_change(services: Services, pooled: Pooled) -> None:
    raised(services, pooled, 7)
    services.now += 60
    handle = look(services, pooled)
    one, two, three = services.states["spot"]
    idle = [w for w in services.workers(TARGET) if w.id not in (two, three)]
    assert [w.id for w in handle.victims(idle, 2)] == [one]
    assert services.request_drain(one, "")
    idle = [w for w in idle if w.id != one]
    services.now += 9
    handle = look(services, pooled)
    assert not handle.victims(idle, 1), "the others of the dear ones may be idle by then"
    services.now += 1
    (leaver,) = handle.victims(idle, 1)
    assert leaver.id.startswith("reserved")


def test_a_pool_that_refuses_is_passed_over(services: Services, pooled: Pooled) -> None:
    services.refuses = {"reserved"}
    assert raised(services, pooled, 2) == "reserved: refused; spot: 0 -> 2"
    services.refuses = {"reserved", "spot"}
    with pytest.raises(OrchestratorError, match="reserved: refused; spot: refused"):
        raised(services, pooled, 4)


def test_a_pool_given_up_on_is_no_obstacle_unless_there_is_no_other(
    services: Services, pooled: Pooled
) -> None:
    look(services, pooled)
    services.obstacles = {"reserved": "no suitable node"}
    assert look(services, pooled).facts.obstacle == "reserved: no suitable node"
    services.now += 61
    fleet = look(services, pooled).facts
    assert fleet.pools[0].closed == "no place for more within 60 s"
    assert fleet.obstacle is None
    services.obstacles["spot"] = "no such image"
    look(services, pooled)
    services.now += 61
    assert (
        look(services, pooled).facts.obstacle == "reserved: no suitable node; spot: no such image"
    )


def test_the_orchestrators_own_limit_holds_too(services: Services, pooled: Pooled) -> None:
    services.limits = {"reserved": 2, "spot": 99}
    raised(services, pooled, 9)
    assert counts(services) == (2, 6)


def test_a_held_pool_is_left_alone_and_the_others_go_on(services: Services, pooled: Pooled) -> None:
    raised(services, pooled, 6)
    services.holds["spot"] = "a roll-out is running"
    handle = look(services, pooled)
    assert handle.facts.hold is None
    assert handle.facts.pools[1].closed == "held: a roll-out is running"
    assert not handle.victims(services.workers(TARGET), 1), "it has just grown"
    services.now += 10
    leavers = handle.victims(services.workers(TARGET), 1)
    assert [worker.id.split("-")[0] for worker in leavers] == ["reserved"]
    services.holds["reserved"] = "a rollback is running"
    held = look(services, pooled).facts.hold
    assert held == "reserved: a rollback is running; spot: a roll-out is running"


def test_in_an_emergency_the_pools_whose_hold_yields_are_filled(
    services: Services, pooled: Pooled
) -> None:
    services.holds = {"reserved": "a roll-out is running", "spot": "1 tasks finish their jobs"}
    services.yields = {"spot"}
    handle = look(services, pooled)
    assert handle.facts.hold_yields
    assert handle.scale_up(2, urgent=True).endswith("urgently spot: 0 -> 2")
    assert counts(services) == (0, 2)


def test_every_pool_is_reconciled_even_where_another_cannot_be(
    services: Services, pooled: Pooled
) -> None:
    handle = look(services, pooled)
    assert handle.reconcile() is None
    services.reconciles = {"reserved": "reserved: 2 -> 1", "spot": "spot: 3 -> 2"}
    assert handle.reconcile() == "reserved: 2 -> 1; spot: 3 -> 2"
    services.refuses = {"reserved"}
    with pytest.raises(OrchestratorError, match="reserved: refused; spot: 3 -> 2"):
        handle.reconcile()


def test_whatever_happens_no_maximum_is_passed_and_only_idle_ones_leave(
    services: Services, pooled: Pooled
) -> None:
    dice = random.Random(6)
    for _ in range(2000):
        services.now += dice.choice((1, 5, 40))
        services.places = {name: dice.randrange(8) for name in services.states}
        services.place()
        for crew in services.states.values():
            for name in list(crew):
                if dice.random() < 0.2:
                    turn = {"idle": "busy", "busy": "idle", "draining": "gone"}
                    crew[name] = turn.get(crew[name], crew[name])
                    if dice.random() < 0.1 and crew[name] != "pending":
                        crew[name] = "draining"
                if crew[name] == "gone":
                    del crew[name]
        handle, wanted = look(services, pooled), dice.randrange(11)
        running = handle.facts.running
        if wanted > running:
            handle.scale_up(wanted)
        else:
            idle = [w for w in services.workers(TARGET) if w.state == "idle"]
            leavers = handle.victims(idle, running - wanted)
            assert len(leavers) <= running - wanted
            kept = [w.id for w in idle if w not in leavers]
            if any(worker.id.startswith("reserved") for worker in leavers):
                assert not any(name.startswith("spot") for name in kept)
            for worker in leavers:
                assert services.request_drain(worker.id, "")
        assert len(services.states["reserved"]) <= 4
        assert len(services.states["spot"]) <= 6


def test_a_target_without_pools_is_the_wrapped_ones(services: Services, pooled: Pooled) -> None:
    plain = Target()
    assert pooled.fleet(plain, []).scale_up(2) == "video-creator: 0 -> 2"
    handle = pooled.fleet(plain, [])
    assert handle.facts.running == 2
    assert len(handle.victims(services.workers(plain), 5)) == 2
    assert handle.reconcile() is None


def test_a_dry_run_tells_pools_apart_by_the_workers_names() -> None:
    pooled = Pooled(DryRun())
    names = ["reserved.1.abc", "spot-2", "spot.3.x", "by-hand"]
    workers = [Worker(name, WorkerCondition.IDLE, 0.0) for name in names]
    handle = pooled.fleet(TARGET, workers)
    fleet = handle.facts
    assert fleet.running == 4
    assert [(pool.name, pool.running) for pool in fleet.pools] == [("reserved", 2), ("spot", 2)]
    said = handle.scale_up(9)
    assert said == (
        "dry run: would have 4 workers of reserved; dry run: would have 5 workers of spot"
    )


@pytest.fixture
def make(services: Services, pooled: Pooled, tmp_path: Path) -> Iterator[Callable[[], Controller]]:
    history = History(tmp_path, retention_s=3600)

    def build() -> Controller:
        return Controller(
            [TARGET],
            signals=services,
            orchestrators={"process": pooled},
            ledger=services,
            history=history,
            metrics=ScalerMetrics("test"),
            recall=as_kept,
            clock=never_set(lambda: services.now),
            monotonic=lambda: services.now,
        )

    yield build
    history.close()


def cycle(controller: Controller, services: Services) -> str:
    services.now += 1
    (said,) = controller.cycle()
    return said


def test_the_loop_spills_over_gives_back_the_dear_and_says_so(
    services: Services, make: Callable[[], Controller]
) -> None:
    controller = make()
    services.waiting = 7
    assert "reserved: 0 -> 4; spot: 0 -> 3" in cycle(controller, services)
    said = cycle(controller, services)
    assert "4 in reserved (full), 3 in spot" in said
    latest = controller.latest("video-creator")
    assert latest is not None
    assert "4 in reserved (full), 3 in spot." in explain(latest.decision, "")
    kept = json.loads(json.dumps(latest.decision.to_json()))
    assert Decision.from_json(kept, bounds(TARGET, 0.0)) == latest.decision
    metrics = generate_latest(controller.metrics.registry).decode()
    line = 'autoscaler_pool_replicas{pool="spot",state="running",target="video-creator"} 3.0'
    assert line in metrics
    fleet = Fleet(4, 4, pools=(PoolFleet("reserved", 4),))
    less = latest.decision._replace(observation=replace(services.observe(TARGET), fleet=fleet))
    controller.states()[0].latest = Cycle(less, Applied())
    metrics = generate_latest(controller.metrics.registry).decode()
    assert 'pool="reserved"' in metrics
    assert 'pool="spot"' not in metrics, "a pool that is gone is not told of"
    services.waiting = 0
    services.states["reserved"] = dict.fromkeys(services.states["reserved"], "busy")
    while services.states["spot"]:
        said = cycle(controller, services)
        assert services.now < 1200, said
    assert counts(services) == (4, 0)
    (kept,) = controller.history.decisions("video-creator", limit=1)
    assert [pool["name"] for pool in kept["fleet"]["pools"]] == ["reserved", "spot"]


def test_an_interrupted_worker_is_replaced_at_once_and_the_reason_says_so(
    services: Services, make: Callable[[], Controller]
) -> None:
    controller = make()
    services.waiting = 5
    cycle(controller, services)
    services.waiting = 0
    for crew in services.states.values():
        crew.update(dict.fromkeys(crew, "busy"))
    cycle(controller, services)
    (interrupted,) = services.states["spot"]
    services.states["spot"][interrupted] = "draining"
    said = cycle(controller, services)
    assert counts(services) == (4, 2)
    assert "0 in spot (1 leaving)" in said
    assert said.endswith("reserved full; spot: 0 -> 1")
