"""Everything between worker and ledger, on a thread that outlives the ledger's outages: events, the
worker's record, its claim, and drain requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from common.ledger import Ledger, LedgerError, WorkerReplacedError
from common.logs import get
from common.records import WorkerRecord
from worker.admission import Admission
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
        status_ttl_s: int,
        admission: Admission,
        problem: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`problem` says why the worker's own health check fails, if it does."""
        self._problem = problem
        self.admission = admission
        """Whether the worker may work as it is set up, sought by this thread."""
        self._admitted = False
        self._ledger = ledger
        self._wake = threading.Event()
        self.outbox = Outbox(self._wake)
        self.record = OwnRecord(
            record, heartbeat_s=heartbeat_s, status_ttl_s=status_ttl_s, wake=self._wake
        )
        self.claim = HeldClaim(record.id, self.outbox)
        self.drain_reason: str | None = None
        """Why the scaler wants this worker to leave, while it does."""
        self._asking = threading.Lock()
        self._stop = False
        self.reachable = False
        self.tried = threading.Event()
        """Set once `reachable` is meaningful: the ledger has been tried."""
        self.moved_at = time.monotonic()
        """When the thread last showed that it is alive."""
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def leave(self, timeout_s: float) -> int:
        """Send what waits, remove the record, stop. Returns how many events were not sent."""
        self._stop = True
        self._wake.set()
        self._thread.join(timeout_s)
        return len(self.outbox)

    def conclude(self, *events: Event) -> None:
        """Report how the job ended, and no further progress of it."""
        self.record.forget_progress()
        self.outbox.put(*events)

    def look_again(self) -> None:
        """Read at once whether the scaler still wants this worker to leave."""
        try:
            if self.reachable:
                self._ask_drain()
                return
        except LedgerError:
            pass
        self.drain_reason = None

    def flush(self, timeout_s: float) -> bool:
        """Wait until the ledger has every event, for that long at most and only while it is
        reachable."""
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
                if self._admitted or self._seek_admission():
                    self._exchange()
                if stopping:
                    record = self.record.current
                    self._ledger.remove_worker(record.id, record.instance)
                    return
                if not self._admitted:
                    self._wake.wait(_TICK_S)
                    continue
                self.reachable, pause = True, _BACKOFF_S[0]
                self.tried.set()
            except WorkerReplacedError as error:
                # Or a ledger that came back older, with the record of a dead predecessor.
                _log.warning("the ledger has another worker of this id", error=str(error)[:300])
                self.admission.reopen()
                self._admitted = False
            except Exception as error:  # whatever it is, this thread must outlive it
                if self.reachable:
                    _log.warning("ledger unreachable; outcomes are kept", error=str(error)[:300])
                self.reachable = False
                self.tried.set()
                time.sleep(pause)
                pause = min(_BACKOFF_S[1], pause * 2)
                continue
            self._wake.wait(_TICK_S)

    def _seek_admission(self) -> bool:
        self._admitted = self.admission.seek(self._ledger)
        return self._admitted

    def _exchange(self) -> None:
        self._note_health()
        self.admission.keep(self._ledger)
        self.outbox.send(self._ledger)
        self.record.write(self._ledger)
        self.claim.keep(self._ledger)
        self._ask_drain()

    def _ask_drain(self) -> None:
        # One at a time, so that an older answer never replaces a newer one.
        with self._asking:
            request = self._ledger.drain_request(self.record.current.id)
            self.drain_reason = request.reason if request else None

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
