"""This worker as the ledger shows it, and the status of the job in hand.

Of both only the latest is kept, and written when it has changed or as a heartbeat.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from common.ledger import Ledger, LedgerError
from common.records import WorkerRecord, WorkerState
from worker.job_status import JobStatus, put_status

_PROGRESS_S = 1.0


class OwnRecord:
    """Changed by the worker's threads, written by one of them."""

    def __init__(
        self,
        record: WorkerRecord,
        *,
        heartbeat_s: float,
        status_ttl_s: int,
        wake: threading.Event,
    ) -> None:
        """`wake` is set when there is something to write."""
        self._status_ttl_s = status_ttl_s
        self._heartbeat_s = heartbeat_s
        self._wake = wake
        self._lock = threading.Lock()
        self._changed = True
        self._status: JobStatus | None = None
        self._written_at = 0.0
        self.current = record
        """What the ledger is to show."""
        self.last_heartbeat: datetime | None = None
        """When it was last written, by the ledger's clock."""
        self.progressed_at = 0.0
        """Monotonic seconds at which a job in hand last made progress."""

    def show(self, state: WorkerState, *, job_id: str | None = None, stage: str = "") -> None:
        """The worker is in that state from now on, with that job or none."""
        with self._lock:
            old = self.current
            since = old.status_since if old.status is state else datetime.now(UTC)
            if job_id is None:
                self._status = None
            elif job_id != old.job_id:
                self.progressed_at = time.monotonic()
            self._change(
                status=state,
                status_since=since,
                job_id=job_id,
                stage=stage,
                progress=old.progress if job_id and job_id == old.job_id else 0.0,
            )

    def amend(self, **fields: object) -> None:
        """Other fields of the record have changed."""
        with self._lock:
            self._change(**fields)

    def _change(self, **fields: object) -> None:
        self.current = self.current.model_copy(update=fields)
        self._changed = True
        self._wake.set()

    def progress(self, status: JobStatus) -> None:
        """How far the job in hand is; written at least every second or two."""
        with self._lock:
            update = {"progress": status.progress, "stage": status.stage}
            record = self.current.model_copy(update=update)
            if record != self.current:
                self.progressed_at = time.monotonic()
            self._status, self.current = status, record

    def forget_progress(self) -> None:
        """Write no more of the job's progress: it has ended."""
        with self._lock:
            self._status = None

    def write(self, ledger: Ledger) -> None:
        """Write what is due. Raises LedgerError."""
        now = time.monotonic()
        with self._lock:
            record, status = self.current, self._status
            age = now - self._written_at
            beat = age >= (_PROGRESS_S if record.has_job else self._heartbeat_s)
            due = self._changed or beat or self._heartbeat_s <= age
            self._changed = False
            self._status = None if due else status
        if not due:
            return
        try:
            self.last_heartbeat = ledger.put_worker(record).last_seen
            if status is not None:
                put_status(ledger, status, self._status_ttl_s)
        except LedgerError:
            self._changed = True
            raise
        self._written_at = now
