"""Whether the scaler wants this worker to leave."""

from __future__ import annotations

import threading

from common.ledger import Ledger


class DrainWatch:
    """The drain request to one worker, as last read; may be read from any thread."""

    def __init__(self, worker_id: str) -> None:
        self._worker_id = worker_id
        self._reading = threading.Lock()
        self.reason: str | None = None
        """Why it is to leave, while that is wanted."""

    def read(self, ledger: Ledger) -> None:
        """Read it again. Raises LedgerError."""
        # One at a time, so that an older answer never replaces a newer one.
        with self._reading:
            request = ledger.drain_request(self._worker_id)
            self.reason = request.reason if request else None
