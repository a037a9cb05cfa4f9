"""The claim to the job in hand: renewed while the job lasts, and claimed late after an outage."""

from __future__ import annotations

import threading
import time

from common.ledger import Ledger
from common.records import Claim
from worker.outbox import Outbox

CLAIM_TTL_S = 20
_RENEW_S = 5.0


class HeldClaim:
    """The claim of one worker, to one job at a time."""

    def __init__(self, worker_id: str, outbox: Outbox) -> None:
        self._worker_id = worker_id
        self._outbox = outbox
        self._lock = threading.Lock()
        self._job_id: str | None = None
        self._claim: Claim | None = None
        self._claimed_at = 0.0
        self.superseded = threading.Event()
        """Set when a later claim has taken the job in hand."""

    def hold(self, job_id: str, claim: Claim | None) -> None:
        """Renew this claim to the job from now on; with None, claim it when the ledger is back."""
        with self._lock:
            self.superseded.clear()
            self._job_id, self._claim = job_id, claim
            self._claimed_at = time.monotonic()

    def let_go(self) -> None:
        """Give the claim up, if there is one."""
        with self._lock:
            claim = self._claim
            self._job_id = self._claim = None
        if claim is not None:
            self._outbox.put(lambda ledger: ledger.release(claim))

    def keep(self, ledger: Ledger) -> None:
        """Renew the claim when that is due. Raises LedgerError."""
        with self._lock:
            job_id, claim = self._job_id, self._claim
        now = time.monotonic()
        if job_id is None or now - self._claimed_at < _RENEW_S:
            return
        if claim is not None and ledger.renew(claim, ttl_s=CLAIM_TTL_S):
            self._claimed_at = now
            return
        holder = ledger.at_work(job_id)
        if holder is not None and holder.worker_id != self._worker_id:
            self.superseded.set()
            return
        # Never made, expired, or lost with the ledger's data, and nobody else works on the job.
        fresh = ledger.claim(job_id, self._worker_id, ttl_s=CLAIM_TTL_S)
        with self._lock:
            if self._job_id == job_id and self._claim is claim:
                self._claim, self._claimed_at = fresh, now
