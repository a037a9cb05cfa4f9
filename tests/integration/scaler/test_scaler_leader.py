"""Several scalers on a real ledger: one acts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from common.ledger import Ledger, LedgerError
from common.records import WorkerRecord, WorkerState
from scaler.loop.lease import LEASE, TTL_S, Leader
from scaler.orchestrators.errors import OrchestratorError
from scaler.orchestrators.swarm.engine import DirectEngine
from scaler.orchestrators.swarm.orchestrator import Swarm
from scaler.policy.target import Target
from tests.support.engine_standin import EngineStandin, Handler
from tests.support.handles import looked
from tests.support.waiting import until

pytestmark = pytest.mark.integration
_KEY = f"autoscaler:lease:{LEASE}"


class Clock:
    """Time that stands still for a process that does."""

    def __init__(self) -> None:
        self.behind = 0.0

    def __call__(self) -> float:
        return time.monotonic() - self.behind


def test_one_leads_and_hands_over_when_it_leaves(ledger: Ledger) -> None:
    first, second = Leader(ledger), Leader(ledger)
    assert first.leads()
    assert not second.leads()
    first.resign()
    time.sleep(1.1)
    assert second.leads()
    assert not first.leads()


def test_after_a_death_another_takes_over_and_never_both_at_once(ledger: Ledger) -> None:
    dead, heir = Leader(ledger), Leader(ledger)
    assert dead.leads()
    died_at = time.monotonic()
    while not heir.leads():
        assert time.monotonic() - died_at < 15
        time.sleep(0.1)
    # The dead one, should it only have been stopped, no longer believes in its lease either.
    assert not dead.leads()
    assert time.monotonic() - died_at >= TTL_S - 1


def idle_worker(ledger: Ledger, name: str) -> None:
    now = ledger.now()
    ledger.put_worker(
        WorkerRecord(
            id=name, queue="q", status=WorkerState.IDLE, status_since=now, started_at=now,
            last_seen=now,
        )
    )  # fmt: skip


def test_one_that_does_not_know_yet_is_fenced_off(ledger: Ledger) -> None:
    for name in ("w1", "w2"):
        idle_worker(ledger, name)
    clock = Clock()
    stopped, heir = Leader(ledger, clock=clock), Leader(ledger)
    assert stopped.leads()
    stopped.require()
    while not heir.leads():
        clock.behind = time.monotonic()
        time.sleep(0.2)
    assert stopped.leads(), "its own clock has stood still"
    assert not stopped.request_drain("w1", "from the past")
    assert heir.request_drain("w1", "from the present")
    stopped.withdraw_drain("w1")
    assert ledger.drain_request("w1") is not None, "it is the heir's to take back"
    heir.withdraw_drain("w1")
    assert ledger.drain_request("w1") is None


def test_who_was_stopped_for_long_knows_by_the_clock_alone(ledger: Ledger) -> None:
    leader = Leader(ledger, clock=lambda: now)
    now = 100.0
    with pytest.raises(OrchestratorError, match="another scaler may lead"):
        leader.require()
    assert leader.leads()
    now += 4.9
    leader.require()
    now += 0.2
    with pytest.raises(OrchestratorError, match="another scaler may lead"):
        leader.require()
    assert leader.leads()
    leader.require()


@pytest.mark.parametrize("answers", [True, False])
def test_a_ledger_that_hangs_is_asked_once_a_cycle(ledger: Ledger, answers: bool) -> None:
    now = 100.0

    class Hanging(Ledger):
        asked = 0

        def take_lease(self, name: str, holder: str, *, ttl_s: float) -> int | None:
            nonlocal now
            now += 2
            self.asked += 1
            if not answers:
                raise LedgerError("ledger: timed out")
            return None

    slow = Hanging(ledger._redis)
    leader = Leader(slow, clock=lambda: now)
    assert not any(leader.leads() for _ in range(100))
    assert slow.asked == 1


@pytest.mark.parametrize("kind", ["text", "list"])
def test_what_is_no_lease_is_nobodys(ledger: Ledger, kind: str) -> None:
    if kind == "text":
        ledger._redis.set(_KEY, "garbage")
    else:
        ledger._redis.rpush(_KEY, "garbage")
    assert Leader(ledger).leads()


@pytest.mark.parametrize("left_ms", [None, 3_600_000], ids=["for ever", "for an hour"])
def test_a_lease_that_would_last_too_long_is_cut_short(ledger: Ledger, left_ms: int | None) -> None:
    """As after the ledger's clock was set back."""
    ledger._redis.hset(_KEY, mapping={"holder": "gone", "token": 1})
    if left_ms:
        ledger._redis.pexpire(_KEY, left_ms)
    assert not Leader(ledger).leads()
    assert 0 < ledger._redis.pttl(_KEY) <= TTL_S * 1000


@pytest.fixture
def engine() -> Iterator[EngineStandin]:
    with EngineStandin() as made:
        made.add("one")
        yield made


class Held:
    """Holds one request, of the kind and how-manieth it is told, until it is let go."""

    def __init__(self, engine: EngineStandin, words: str, number: int) -> None:
        self.words, self.left = words, number
        self.reached, self.released, self.over = (threading.Event() for _ in range(3))
        engine.fault = self

    def __call__(self, handler: Handler) -> None:
        if handler.requestline.startswith(self.words):
            self.left -= 1
            if self.left == 0:
                self.reached.set()
                assert self.released.wait(120)
        handler.obey()
        if self.left == 0 and self.released.is_set():
            self.over.set()


def changed_by_another(ledger: Ledger, engine: EngineStandin) -> None:
    """Another leads, at once, as if the lease had run out, and raises to 2."""
    ledger._redis.delete(_KEY)
    heir, swarm = Leader(ledger), Swarm(DirectEngine(engine.host, min_grace_s=1))
    assert heir.leads()
    swarm.fence = heir.require
    assert looked(swarm, Target(service="one")).scale_up(2) == "one: replicas 1 -> 2"


@contextmanager
def scaler(redis_url: str, engine: EngineStandin) -> Iterator[subprocess.Popen[str]]:
    """One that raises to 3, and says how that ended."""
    command = [sys.executable, "-m", "tests.support.one_change", redis_url, engine.host, "one"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def frozen_at(held: Held, process: subprocess.Popen[str]) -> None:
    """What it waits for is there when it goes on."""
    assert held.reached.wait(120)
    os.kill(process.pid, signal.SIGSTOP)
    held.released.set()
    assert held.over.wait(120)


def ending(process: subprocess.Popen[str]) -> str:
    os.kill(process.pid, signal.SIGCONT)
    return process.communicate(timeout=120)[0]


@pytest.mark.parametrize(
    ("words", "number"),
    [("GET /v1.41/services/", 1), ("GET /v1.41/tasks?", 1), ("GET /v1.41/services/", 2)],
    ids=["before it looks again", "in that look", "right before it changes"],
)
def test_a_leader_that_was_frozen_overrides_nothing_that_another_did(
    ledger: Ledger, redis_url: str, engine: EngineStandin, words: str, number: int
) -> None:
    held = Held(engine, words, number)
    with scaler(redis_url, engine) as frozen:
        frozen_at(held, frozen)
        changed_by_another(ledger, engine)
        assert "has changed since it was looked at" in ending(frozen)
    assert engine.replicas("one") == 2


def test_a_leader_that_was_frozen_changes_nothing_where_another_did_nothing_either(
    ledger: Ledger, redis_url: str, engine: EngineStandin
) -> None:
    held = Held(engine, "GET /v1.41/services/", 2)
    with scaler(redis_url, engine) as frozen:
        frozen_at(held, frozen)
        until(Leader(ledger).leads, "another that leads", timeout_s=60)
        assert "another scaler may lead" in ending(frozen)
    assert engine.replicas("one") == 1
    assert not [asked for asked in engine.requests if "POST" in asked]


def test_a_change_that_was_held_on_its_way_is_refused_as_stale(
    ledger: Ledger, redis_url: str, engine: EngineStandin
) -> None:
    held = Held(engine, "POST", 1)
    with scaler(redis_url, engine) as slow:
        assert held.reached.wait(120)
        changed_by_another(ledger, engine)
        held.released.set()
        assert "has changed since it was looked at" in slow.communicate(timeout=120)[0]
    assert engine.replicas("one") == 2
