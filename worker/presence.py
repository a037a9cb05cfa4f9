"""What the worker tells the ledger, on a thread of its own, whether or not the ledger is there.

Everything written goes through an outbox. While the ledger is away outcomes wait in it, in order;
each carries an id under which the ledger counts it once, so sending twice does no harm. Of the
worker's own record and of a running job's progress only the latest is kept.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from common.ledger import Ledger, LedgerError
from common.logs import get
from common.records import Claim, WorkerRecord, WorkerState
from worker.job_status import JobStatus, put_status

_TICK_S = 0.5
_PROGRESS_S = 1.0
_RENEW_S = 5.0
CLAIM_TTL_S = 20
_BACKOFF_S = (0.5, 5.0)
# Some 15 jobs' worth of events a minute for a day.
MAX_EVENTS = 100_000
_log = get("ledger")

Event = Callable[[Ledger], object]


class Presence:
    """The worker as the ledger shows it. Methods return at once, unless they say otherwise."""

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
        self._record = record
        self._heartbeat_s = heartbeat_s
        self._wake = threading.Condition()
        self._looking = threading.Lock()
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._status: JobStatus | None = None
        self._changed = True
        self._held: str | None = None
        self._claim: Claim | None = None
        self._claimed_at = 0.0
        self._written_at = 0.0
        self._stop = False
        self.superseded = threading.Event()
        """Set when a later claim has taken the job in hand."""
        self.drain_reason: str | None = None
        """Why the scaler wants this worker to leave, while it does."""
        self.last_heartbeat: datetime | None = None
        self.reachable = False
        self.tried = threading.Event()
        """Set once `reachable` says something: the ledger has answered, or has not."""
        self.moved_at = time.monotonic()
        """When the thread last showed that it is alive."""
        self.progressed_at = 0.0
        """Monotonic seconds at which a job in hand last came on."""
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    @property
    def record(self) -> WorkerRecord:
        """What the ledger shall show."""
        return self._record

    @property
    def waiting(self) -> int:
        """How many events the ledger has not taken yet."""
        return len(self._events)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def leave(self, timeout_s: float) -> int:
        """Write what waits, take the record away, stop. Returns how many events were left over."""
        with self._wake:
            self._stop = True
            self._wake.notify()
        self._thread.join(timeout_s)
        return len(self._events)

    def show(self, state: WorkerState, *, job_id: str | None = None, stage: str = "") -> None:
        """The worker is in that state, from now on, with that job or none."""
        with self._wake:
            old = self._record
            since = old.status_since if old.status == state else datetime.now(UTC)
            done = {"status": state, "status_since": since, "job_id": job_id, "stage": stage}
            progress = old.progress if job_id and job_id == old.job_id else 0.0
            if job_id and job_id != old.job_id:
                self.progressed_at = time.monotonic()
            self._record = old.model_copy(update={**done, "progress": progress})
            self._changed = True
            self._wake.notify()

    def amend(self, **fields: object) -> None:
        """Other fields of the record have changed."""
        with self._wake:
            self._record = self._record.model_copy(update=fields)
            self._changed = True
            self._wake.notify()

    def progress(self, status: JobStatus) -> None:
        """The job in hand has come so far; written at least every second or two."""
        with self._wake:
            old = self._record
            if (old.job_id, old.progress, old.stage) != (
                status.job_id,
                status.progress,
                status.stage,
            ):
                self.progressed_at = time.monotonic()
            self._status = status
            update = {"progress": status.progress, "stage": status.stage}
            self._record = self._record.model_copy(update=update)

    def tell(self, event: Event) -> None:
        """Have the ledger take `event`, now or when it is back, after those told before."""
        with self._wake:
            self._events.append(event)
            self._wake.notify()

    def conclude(self, events: Iterable[Event]) -> None:
        """Have the ledger take how the job ended, and no progress of it any more."""
        with self._wake:
            self._status = None
            self._events.extend(events)
            self._wake.notify()

    def hold(self, job_id: str, claim: Claim | None) -> None:
        """Keep this claim to the job alive from now on; None is made up for when the ledger is
        back."""
        with self._wake:
            self.superseded.clear()
            self._held, self._claim = job_id, claim
            self._claimed_at = time.monotonic()

    def let_go(self) -> None:
        """Give the claim up, if there is one, and say no more of the job's progress."""
        with self._wake:
            claim = self._claim
            self._held = self._claim = self._status = None
        if claim is not None:
            self.tell(lambda ledger: ledger.release(claim))

    def look_again(self) -> None:
        """Ask at once whether the scaler still wants this worker to leave."""
        if not self.reachable:
            self.drain_reason = None
            return
        try:
            self._look()
        except LedgerError:
            self.drain_reason = None

    def flush(self, timeout_s: float) -> bool:
        """Wait until the ledger has taken every event: at most so long, not while it is away."""
        until = time.monotonic() + timeout_s
        while self._events and time.monotonic() < until:
            with self._wake:
                self._wake.notify()
            time.sleep(0.005)
            if not self.reachable:
                return False
        return not self._events

    # The thread

    def _run(self) -> None:
        pause = _BACKOFF_S[0]
        while True:
            self.moved_at = time.monotonic()
            stopping = self._stop
            try:
                self._write()
                if stopping:
                    self._ledger.remove_worker(self._record.id)
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
            with self._wake:
                if not (self._events or self._changed or self._stop):
                    self._wake.wait(_TICK_S)

    def _write(self) -> None:
        self._look_at_health()
        self._send_events()
        self._send_record()
        self._keep_claim()
        self._look()

    def _look(self) -> None:
        # One at a time, so that an older answer never replaces a newer one.
        with self._looking:
            request = self._ledger.drain_request(self._record.id)
            self.drain_reason = request.reason if request else None

    def _look_at_health(self) -> None:
        problem = self._problem() or ""
        if bool(problem) == bool(self._record.problem):
            return
        self.amend(problem=problem, problem_since=datetime.now(UTC) if problem else None)
        if problem:
            _log.error("unhealthy", problem=problem)
        else:
            _log.info("well again")

    def _send_events(self) -> None:
        while self._events:
            try:
                self._events[0](self._ledger)
            except LedgerError:
                raise
            except Exception as error:  # a mistake of ours; it must not hold up all that follow
                _log.error("event dropped", error=repr(error)[:300])
            self._events.popleft()

    def _send_record(self) -> None:
        now = time.monotonic()
        with self._wake:
            record, status = self._record, self._status
            age = now - self._written_at
            beat = age >= (_PROGRESS_S if record.has_job else self._heartbeat_s)
            due = self._changed or beat or self._heartbeat_s <= age
            self._changed = False
            self._status = None if due else status
        if not due:
            return
        try:
            self.last_heartbeat = self._ledger.put_worker(record).last_seen
            if status is not None:
                put_status(self._ledger, status)
        except LedgerError:
            self._changed = True
            raise
        self._written_at = now

    def _keep_claim(self) -> None:
        with self._wake:
            job_id, claim = self._held, self._claim
        now = time.monotonic()
        if job_id is None or now - self._claimed_at < _RENEW_S:
            return
        if claim is not None and self._ledger.renew(claim, ttl_s=CLAIM_TTL_S):
            self._claimed_at = now
            return
        holder = self._ledger.at_work(job_id)
        if holder is not None and holder.worker_id != self._record.id:
            self.superseded.set()
            return
        # Never made, lapsed, or gone with the ledger's memory, and nobody else is at the job.
        fresh = self._ledger.claim(job_id, self._record.id, ttl_s=CLAIM_TTL_S)
        with self._wake:
            if self._held == job_id and self._claim is claim:
                self._claim, self._claimed_at = fresh, now
