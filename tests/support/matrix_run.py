"""One cell of the matrix: a real loop, a fault in the middle of it, and what was promised."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from common.records import WorkerState
from scaler.loop.clock import LoopClock
from scaler.loop.controller import Controller
from scaler.loop.history import History
from scaler.loop.lease import Leader
from scaler.loop.metrics import ScalerMetrics
from scaler.loop.order_sync import LedgerBoard
from scaler.loop.restore import Restore
from scaler.loop.target_state import Cycle
from scaler.policy.limits import Limit
from scaler.policy.observation import Unknown
from scaler.policy.target import Target
from scaler.prometheus.client import Prometheus
from scaler.prometheus.look import Signals
from scaler.run import _PAST_TIMEOUT_S
from tests.support.fault_proxy import FaultProxy
from tests.support.matrix import MatrixCell, MatrixPart, MatrixState, table
from tests.support.matrix_faults import (
    LockedHistory,
    LoopDisk,
    MatrixClock,
    MatrixFault,
    NetworkFault,
)
from tests.support.matrix_fleet import MatrixFleet
from tests.support.matrix_world import MatrixCrew, MatrixWorld
from tests.support.waiting import until

MOST, BURST, FAULTY_CYCLES, RECOVERED_WITHIN = 4, 20, 3, 2
# A loop that takes longer is taken to be stuck.
_LONGEST_CYCLE_S = 30.0
# Where nothing fails, a cycle takes milliseconds.
_SLOW_CYCLE_S = 1.0
# Of parts that are not to fail.
_PATIENCE_S = 30.0
_TRIES = 20
ENDLESS_HTTP = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9000000000\r\n\r\n"
)
_ENDLESS_REDIS = b"$500000000\r\n"
_DOUBT = re.compile(r"whether replicas are \d+ by now is not known")
_CHANGED = re.compile(r"started \d+ workers|replicas \d+ -> \d+")


@dataclass(frozen=True)
class Facts:
    """What is so, whatever anybody says."""

    count: int
    asked: frozenset[str]


class CellRun(contextlib.ExitStack):
    """Runs one cell. Use as a context."""

    def __init__(self, world: MatrixWorld, cell: MatrixCell, folder: Path) -> None:
        super().__init__()
        self.world, self.cell = world, cell
        self.folder = folder / cell.name
        self.folder.mkdir(parents=True)
        self.target = Target(name=cell.name, service=cell.name, queue=cell.name, **_knobs(cell))
        self._database = world.database()
        self.crew = MatrixCrew(
            world, cell.name, world.ledger(self._database, timeout_s=_PATIENCE_S)
        )
        self.callback(self.crew.ledger.close)
        self.proxy: FaultProxy | None = None
        self.clock = MatrixClock(time.time())
        self.scaler = contextlib.ExitStack()
        self._numbers: list[int | None] = []
        self._words: list[tuple[str, tuple[str, ...]]] = []

    # The world of the cell

    def people(self) -> None:
        """Who works at first."""
        states = [WorkerState.BUSY, WorkerState.BUSY]
        if self.cell.state is MatrixState.DRAIN:
            states = [WorkerState.BUSY, WorkerState.IDLE, WorkerState.IDLE]
        self.crew.states = {f"{self.cell.name}.{n}": state for n, state in enumerate(states, 1)}

    def prepare(self, fleet: MatrixFleet) -> None:
        """Take the fleet, and put the fault in place."""
        self.fleet = fleet
        self.target = self.target.model_copy(update={"orchestrator": "process"})
        self.fault = self._fault()

    def _fault(self) -> MatrixFault:
        part, fault = self.cell.part, self.cell.fault
        if part is MatrixPart.CLOCK:
            self.clock = MatrixClock(time.time(), fault)
            return self.clock
        if part is MatrixPart.DISK and fault == "locked":
            return LockedHistory(self.folder)
        if part is MatrixPart.DISK:
            disk = self.enter_context(LoopDisk(self.folder, fault))
            self.folder = disk.folder
            return disk
        if self.proxy is None:
            redis = part is MatrixPart.REDIS
            port = self.world.stack.redis_port if redis else self.world.stack.prometheus_port
            endless = _ENDLESS_REDIS if redis else ENDLESS_HTTP
            self.proxy = self.enter_context(FaultProxy(port, endless=endless))
        return NetworkFault(self.proxy, fault)

    def _port(self, part: MatrixPart) -> int | None:
        return self.proxy.port if self.proxy and self.cell.part is part else None

    def _limit(self, part: MatrixPart, usual_s: float) -> float:
        """How long to wait for a part: on a slow machine longer, where it is not to fail."""
        return usual_s if self.cell.part is part else _PATIENCE_S

    def start(self) -> None:
        """A scaler, as `scaler.run` puts it together."""
        self.scaler = self.enter_context(contextlib.ExitStack())
        keep = self.scaler.callback
        port = self._port(MatrixPart.PROMETHEUS) or self.world.stack.prometheus_port
        url = f"http://127.0.0.1:{port}"
        prometheus = Prometheus(url, timeout_s=self._limit(MatrixPart.PROMETHEUS, 2.0))
        keep(prometheus.close)
        past = Prometheus(url, timeout_s=self._limit(MatrixPart.PROMETHEUS, _PAST_TIMEOUT_S))
        keep(past.close)
        ledger = self.world.ledger(
            self._database,
            self._port(MatrixPart.REDIS),
            timeout_s=self._limit(MatrixPart.REDIS, 2.0),
            rest_s=5.0,
        )
        keep(ledger.close)
        leader = Leader(ledger, clock=self.clock.monotonic)
        keep(leader.resign)
        self.fleet.orchestrator.fence = leader.require
        history = History(self.folder, retention_s=7 * 86_400.0)
        keep(history.close)
        self.controller = Controller(
            [self.target],
            signals=Signals(prometheus, patience_s=self._limit(MatrixPart.PROMETHEUS, 2.5)),
            orchestrators={self.target.orchestrator: self.fleet.orchestrator},
            ledger=leader,
            leads=leader.leads,
            board=LedgerBoard(ledger),
            history=history,
            metrics=ScalerMetrics("matrix"),
            recall=Restore(past),
            clock=LoopClock(self.clock.wall, self.clock.monotonic),
            monotonic=self.clock.monotonic,
        )

    # Its course

    def run(self) -> str:
        """What happened, in words. Raises AssertionError where a promise was not kept."""
        self.crew.show()
        self._before()
        self._numbers, self._words = [], []
        self.fault.begin()
        if self.cell.state is MatrixState.COLD:
            self.start()
        for number in range(FAULTY_CYCLES):
            self.fault.cycle(number)
            self._cycle()
            if number == 0 and self.cell.state is MatrixState.DRAIN:
                self._leaves()
        during = self._summary()
        self._said_of_disk()
        self._mend()
        for _ in range(RECOVERED_WITHIN):
            self.crew.await_shown()
            self._cycle()
        assert self._well(), f"not recovered within {RECOVERED_WITHIN} cycles: {self._said}"
        self._settle()
        return f"{during} → {self._numbers[-1]}"

    def _before(self) -> None:
        """A scaler at rest, but for a cold one; and what has happened since it looked last."""
        state, cold = self.cell.state, self.cell.state is MatrixState.COLD
        # Where a cold one finds a history, it is of the scaler before.
        if not cold or self.cell.part in (MatrixPart.DISK, MatrixPart.CLOCK):
            self.start()
            until(self._steady, f"{self.cell} at rest", timeout_s=60)
        if cold:
            self.scaler.close()
        if state is MatrixState.BURST:
            self.crew.waiting = BURST
            self.crew.show()
        if state is MatrixState.DRAIN:
            self._takes_a_job()

    def _mend(self) -> None:
        """The fault is over, for a disk that failed after a restart."""
        if self.fault.restarts:
            self.scaler.close()
        self.fault.end()
        if self.fault.restarts:
            self.start()

    def _leaves(self) -> None:
        """Who was asked to leave does so."""
        leaving = self.crew.asked() & self.crew.of(WorkerState.IDLE)
        for worker in leaving:
            self.fleet.leave(worker)
            self.crew.gone(worker)
        self.crew.show()

    def _takes_a_job(self) -> None:
        """Who is idle and was not asked to leave is given one, which Prometheus is yet to see."""
        for worker in self.crew.of(WorkerState.IDLE) - self.crew.asked():
            self.crew.states[worker] = WorkerState.BUSY
        self.crew.report()

    def _said_of_disk(self) -> None:
        """What is not written down is said."""
        if self.cell.part is not MatrixPart.DISK:
            return

        def said() -> bool:
            self.controller.cycle()
            return any("history" in problem for problem in self.controller.problems)

        until(said, f"{self.cell}: said", timeout_s=60)

    def _settle(self) -> None:
        """In the end the fleet is what it would have been without the fault."""
        busy = len(self.crew.of(WorkerState.BUSY))
        wanted = MOST if self.cell.state is MatrixState.BURST else busy
        assert self._numbers[-1] == wanted, f"not {wanted}: {self._said}"

        def there() -> bool:
            if self.fleet.count() == wanted:
                return True
            self._leaves()
            self._cycle()
            return False

        until(there, f"{self.cell}: {wanted} in the end", timeout_s=60, explain=lambda: self._said)
        if self.cell.part is MatrixPart.DISK:
            until(lambda: self._written(wanted), f"{self.cell}: written down")

    def _written(self, number: int) -> bool:
        """Whether the history goes on, with what is decided now."""
        history = self.controller.history
        (newest,) = history.decisions(self.target.name, limit=1) or [{}]
        return history.problem is None and newest.get("replicas") == number

    def _steady(self) -> bool:
        self._cycle()
        asked = bool(self.crew.asked()) or self.cell.state is not MatrixState.DRAIN
        return self._well() and asked

    def _well(self) -> bool:
        cycle = self.controller.latest(self.target.name)
        if cycle is None or self.controller.states()[0].failure:
            return False
        applied, held = cycle.applied, cycle.decision.limit is Limit.UNKNOWN
        return not (held or applied.failure or applied.standby)

    def _facts(self) -> Facts:
        return Facts(self.fleet.count(), frozenset(self.crew.asked()))

    def _cycle(self) -> None:
        """One, and what was promised of every one.

        Once more where a part was too slow that is not to fail now: that is another cell.
        """
        before = self._facts()
        for _ in range(_TRIES):
            began, latest = time.monotonic(), self.controller.latest(self.target.name)
            cycle = self._promised(latest)
            slow = time.monotonic() - began > _SLOW_CYCLE_S
            if not self._disturbed(cycle, slow=slow):
                self._note(cycle, before, self._facts())
                return
            self.crew.await_shown()
        raise AssertionError(f"a part has not answered that did not fail: {self._said}")

    def _promised(self, latest: Cycle | None) -> Cycle | None:
        """The cycle after `latest`, None where it came to no decision."""
        before = self._facts()
        self.clock.go_on(1.0)
        began = time.monotonic()
        (self._said,) = self.controller.cycle()
        assert began < self.controller.progressed_at < began + _LONGEST_CYCLE_S, self._said
        after = self._facts()
        self._check_busy(after)
        self._check_sentence(before, after)
        cycle = self.controller.latest(self.target.name)
        if cycle is None or cycle is latest:
            return None
        self._check_number(latest, cycle)
        return cycle

    def _disturbed(self, cycle: Cycle | None, *, slow: bool) -> bool:
        """Whether a part failed that is not to. The one that is to fail now and then may be slow
        as well, where the whole cycle was."""
        failed = {
            MatrixPart.PROMETHEUS: cycle is None or _blind(cycle),
            MatrixPart.DOCKER: cycle is not None and cycle.decision.observation.fleet is None,
            MatrixPart.REDIS: cycle is not None
            and (cycle.applied.standby or "ledger" in cycle.applied.failure),
        }
        if self.cell.part in failed and (self.fault.acts or not slow):
            del failed[self.cell.part]
        return any(failed.values())

    # What is promised

    def _check_busy(self, facts: Facts) -> None:
        busy = self.crew.of(WorkerState.BUSY)
        assert not facts.asked & busy, f"busy and asked to leave: {facts.asked & busy}"
        tasks = {self.crew.tasks[worker] for worker in busy}
        assert tasks <= self.fleet.alive(), "a busy worker was ended"

    def _check_sentence(self, before: Facts, after: Facts) -> None:
        said = self._said
        asked = after.asked - before.asked
        for worker in asked:
            assert re.search(rf"(?<!no longer )asked to leave:.*{re.escape(worker)}", said), said
        if not asked:
            assert not re.search(r"(?<!no longer )asked to leave:", said), said
        changed = after.count != before.count
        if not (changed and _DOUBT.search(said)):
            assert bool(_CHANGED.search(said)) == changed, f"{before} -> {after}, and said: {said}"
        if changed or asked:
            assert "nothing was changed" not in said, said
        # There is but one.
        assert "another scaler acts" not in said, said

    def _check_number(self, latest: Cycle | None, cycle: Cycle) -> None:
        decision, seen = cycle.decision, cycle.decision.observation
        unknown = seen.fleet is None or _blind(cycle)
        assert ("unknown" in self._said) == unknown, self._said
        if unknown:
            assert re.search(
                "Docker|gateway|answer" if seen.fleet is None else "Prometheus", self._said
            ), self._said
        number = decision.replicas
        if number is None:
            assert unknown, self._said
            return
        running = seen.fleet.running if seen.fleet else self.fleet.count()
        assert number <= max(decision.bounds.high, running), self._said
        before = latest.decision.replicas if latest else None
        if unknown and before is not None:
            assert number >= before, f"lowered on unknown: {self._said}"

    def _note(self, cycle: Cycle | None, before: Facts, after: Facts) -> None:
        if cycle is None:
            self._numbers.append(None)
            self._words.append(("no decision", ()))
            return
        number = cycle.decision.replicas
        held = cycle.decision.limit is Limit.UNKNOWN
        decided = "no number" if number is None else f"{'holds' if held else 'decides'} {number}"
        done = [f"grows to {after.count}"] if after.count > before.count else []
        done += ["asks one to leave"] * len(after.asked - before.asked)
        done += ["stands by"] if cycle.applied.standby else []
        done += ["not applied"] if cycle.applied.failure else []
        self._numbers.append(number)
        self._words.append((decided, tuple(done)))

    def _summary(self) -> str:
        """What was decided in turn, and what was done about each."""
        said = []
        for decided, cycles in groupby(self._words, key=itemgetter(0)):
            done = dict.fromkeys(what for _, each in cycles for what in each)
            said.append(", ".join([decided, *done]))
        return "; ".join(said)


def _knobs(cell: MatrixCell) -> dict[str, Any]:
    """Where a burst came, also a fallback that is far above the maximum."""
    if cell.state is not MatrixState.BURST:
        return {"max_workers": MOST}
    fallback = {"fallback": "higher", "fallback_replicas": 50, "fallback_after": 1}
    return {"max_workers": MOST, **fallback}


def _blind(cycle: Cycle) -> bool:
    """Whether it lacked a signal that every decision needs."""
    seen = cycle.decision.observation
    return any(isinstance(signal, Unknown) for signal in (seen.waiting, seen.in_flight))


def tell(config: pytest.Config, outcomes: Mapping[MatrixCell, Future[str]]) -> None:
    """Write the table of what was found to the terminal, past what pytest captures."""
    found = {cell: one.result() for cell, one in outcomes.items() if not one.exception()}
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        sys.stderr.write(f"\n{table(found)}")
