"""A look ends in time: what has not answered by then is unknown, and nothing else is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import pytest

from scaler.loop.containment import Containment, LoopPart
from scaler.loop.drain import Drains
from scaler.loop.lookout import Lookout
from scaler.loop.target_state import Look, TargetState
from scaler.orchestrators.base import FleetHandle, Orchestrator, OrchestratorError
from scaler.policy.memory import Memory
from scaler.policy.observation import Fleet, Observation, Unknown, Worker, WorkerCondition
from scaler.policy.target import Target
from scaler.prometheus.look import Seen
from tests.support.handles import Handle
from tests.support.waiting import until

PATIENCE_S = 0.3
IDLE = (Worker("w", WorkerCondition.IDLE, 1.0),)


class Backend(Orchestrator):
    """Has three workers for everybody; `on_refresh` may hang or fail."""

    def __init__(self, on_refresh: Callable[[], object] = lambda: None) -> None:
        self.on_refresh = on_refresh
        self.looks = 0
        self.broken: set[str] = set()
        self.asked: list[tuple[str, Sequence[Worker] | None]] = []

    def refresh(self, targets: Sequence[Target]) -> None:
        self.looks += 1
        self.on_refresh()

    def fleet(self, target: Target, workers: Sequence[Worker] | None) -> FleetHandle:
        self.asked.append((target.name, workers))
        if target.name in self.broken:
            raise KeyError("ReplicatedJob")
        return Handle(Fleet(3, 3), target, self)  # type: ignore[arg-type] # nothing is changed


class Sight:
    """Sees nothing but workers, as long as it sees."""

    def __init__(self) -> None:
        self.workers: tuple[Worker, ...] | None = IDLE
        self.fails: Exception | None = None

    def look(self, targets: Sequence[Target], /) -> Mapping[str, Seen]:
        if self.fails:
            raise self.fails
        signal = Unknown("no sample", "q")
        seen = Observation(*(signal,) * 7, fleet=None)
        return {target.name: Seen(seen, self.workers) for target in targets}


class Place:
    """Two targets on each of two backends."""

    def __init__(self, slow: Backend, quick: Backend) -> None:
        self.sight, self.contained = Sight(), Containment()
        backends = {"slow": slow, "quick": quick}
        self.lookout = Lookout(self.sight, self.contained, patience_s=PATIENCE_S)
        self.lookout.watch(backends)
        ledger = type("NoLedger", (), {})()
        self.states = [
            TargetState(
                Target(name=f"{name}-{n}", service=f"{name}-{n}", orchestrator=name),
                backend,
                Drains(ledger),
                Memory(),
                None,
            )
            for name, backend in backends.items()
            for n in range(2)
        ]

    def look(self) -> dict[str, Look]:
        looks = self.lookout.look(self.states)
        for state in self.states:
            state.look = looks.get(state.target.name, state.look)
        return looks


def seen(looks: Mapping[str, Look]) -> set[str]:
    return {name for name, look in looks.items() if look.fleet is not None}


def test_a_backend_that_hangs_is_unknown_for_its_targets_alone_and_asked_once() -> None:
    release = threading.Event()
    slow = Backend(lambda: release.wait(60))
    place = Place(slow, Backend())
    for _ in range(3):
        began = time.monotonic()
        looks = place.look()
        assert time.monotonic() - began < 30
        assert seen(looks) == {"quick-0", "quick-1"}
        assert "slow has not answered for" in looks["slow-0"].observation.fleet_error
    assert slow.looks == 1
    assert not slow.asked, "it is in use by the look that hangs"
    release.set()
    until(lambda: len(seen(place.look())) == 4, "all known again")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OrchestratorError("the engine is away"), "the engine is away"),
        (TimeoutError(), "did not answer in time"),
        (ZeroDivisionError("oops"), "ZeroDivisionError: oops"),
    ],
)
def test_a_look_that_fails_is_a_reason_and_the_next_one_looks_again(
    error: Exception, words: str
) -> None:
    fails = [True]

    def refresh() -> None:
        if fails[0]:
            raise error

    place = Place(Backend(refresh), Backend())
    assert words in place.look()["slow-1"].observation.fleet_error
    fails[0] = False
    assert len(seen(place.look())) == 4


def test_a_fleet_that_can_not_be_made_out_is_one_targets_alone() -> None:
    slow = Backend()
    place = Place(slow, Backend())
    slow.broken.add("slow-0")
    looks = place.look()
    assert seen(looks) == {"slow-1", "quick-0", "quick-1"}
    assert "KeyError" in looks["slow-0"].observation.fleet_error
    assert place.contained.failing()[LoopPart.FLEET] == 1
    slow.broken.clear()
    place.look()
    assert place.contained.failing()[LoopPart.FLEET] == 0


def test_a_moment_of_blindness_makes_no_worker_unseen_and_none_is_made_up() -> None:
    quick = Backend()
    place = Place(Backend(), quick)
    told: list[Sequence[Worker] | None] = []
    for workers in (None, IDLE, None):
        place.sight.workers = workers
        place.look()
        told.append(quick.asked[-1][1])
    assert told == [None, IDLE, IDLE]


def test_a_fault_in_looking_at_prometheus_is_contained() -> None:
    place = Place(Backend(), Backend())
    place.sight.fails = RecursionError("too deep")
    assert place.look() == {}
    assert place.contained.failing()[LoopPart.SIGNALS] == 1
    place.sight.fails = None
    assert len(place.look()) == 4
    assert not place.contained.sentences()
