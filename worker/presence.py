"""What passes between the worker and the ledger, on a thread of its own, whether or not the ledger
is there: events, the worker's record, its claim, and the drain requests to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from common.ledger import Ledger, LedgerError
from common.logs import get
from common.records import WorkerRecord
from worker.drain_watch import DrainWatch
from worker.held_claim import HeldClaim
from worker.outbox import Event, Outbox
from worker.own_record import OwnRecord

_TICK_S = 0.5
_BACKOFF_S = (0.5, 5.0)
_log = get("ledger")


class Presence:
    """The thread, and its parts. Methods return at once, unless they say otherwise."""

    def __init__(
        self,
        ledger: Ledger,
        record: WorkerRecord,
        *,
        heartbeat_s: float,
        problem: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`problem` says why the worker's own health check fails, if it does."""
        self._problem = problem
        self._ledger = ledger
        self._wake = threading.Event()
        self.outbox = Outbox(self._wake)
        self.record = OwnRecord(record, heartbeat_s=heartbeat_s, wake=self._wake)
        self.claim = HeldClaim(record.id, self.outbox)
        self.drain = DrainWatch(record.id)
        self._stop = False
        self.reachable = False
        self.tried = threading.Event()
        """Set once `reachable` says something: the ledger has answered, or has not."""
        self.moved_at = time.monotonic()
        """When the thread last showed that it is alive."""
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def leave(self, timeout_s: float) -> int:
        """Write what waits, take the record away, stop. Returns how many events were left over."""
        self._stop = True
        self._wake.set()
        self._thread.join(timeout_s)
        return len(self.outbox)

    def conclude(self, *events: Event) -> None:
        """Have the ledger take how the job ended, and no progress of it any more."""
        self.record.forget_progress()
        self.outbox.put(*events)

    def look_again(self) -> None:
        """Ask at once whether the scaler still wants this worker to leave."""
        try:
            if self.reachable:
                self.drain.read(self._ledger)
                return
        except LedgerError:
            pass
        self.drain.reason = None

    def flush(self, timeout_s: float) -> bool:
        """Wait until the ledger has taken every event: at most so long, not while it is away."""
        until = time.monotonic() + timeout_s
        while self.outbox and time.monotonic() < until:
            time.sleep(0.005)
            if not self.reachable:
                return False
        return not self.outbox

    # The thread

    def _run(self) -> None:
        pause = _BACKOFF_S[0]
        while True:
            self.moved_at = time.monotonic()
            self._wake.clear()
            stopping = self._stop
            try:
                self._exchange()
                if stopping:
                    self._ledger.remove_worker(self.record.current.id)
                    return
                self.reachable, pause = True, _BACKOFF_S[0]
                self.tried.set()
            except Exception as error:  # whatever it is, this thread must outlive it
                if self.reachable:
                    _log.warning("ledger away; outcomes are kept", error=str(error)[:300])
                self.reachable = False
                self.tried.set()
                time.sleep(pause)
                pause = min(_BACKOFF_S[1], pause * 2)
                continue
            self._wake.wait(_TICK_S)

    def _exchange(self) -> None:
        self._note_health()
        self.outbox.send(self._ledger)
        self.record.write(self._ledger)
        self.claim.keep(self._ledger)
        self.drain.read(self._ledger)

    def _note_health(self) -> None:
        problem = self._problem() or ""
        if bool(problem) == bool(self.record.current.problem):
            return
        since = datetime.now(UTC) if problem else None
        self.record.amend(problem=problem, problem_since=since)
        if problem:
            _log.error("unhealthy", problem=problem)
        else:
            _log.info("healthy again")
