"""The names of the broker's queues, listed at intervals: what patterns are matched with.

Names, not values: a queue that is new is seen within one interval, and while the listing fails
the queues known before are still read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from exporter.management import Management
from exporter.selection import QueueName
from exporter.sources import Reading, SourceError

_TIMEOUT_S = 30.0


class Directory:
    """Lists on a thread of its own. Use start() and close()."""

    def __init__(
        self,
        management: Management,
        interval_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._management = management
        self._interval_s = interval_s
        self._clock = clock
        self._first = threading.Event()
        self._stopping = threading.Event()
        self._names: list[QueueName] | None = None
        self._last: Reading[list[QueueName]] = Reading(None, "not listed yet", 0.0)
        self._thread = threading.Thread(target=self._run, name="listing", daemon=True)

    def start(self) -> Directory:
        """List at once and then at every interval."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop listing."""
        self._stopping.set()

    def reading(self, timeout_s: float) -> Reading[list[QueueName]]:
        """The names known and how the last listing went; waits for the first one only."""
        self._first.wait(max(0.0, timeout_s))
        return Reading(self._names, self._last.error, self._last.duration_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            began = self._clock()
            try:
                self._names = self._management.names(_TIMEOUT_S)
                error = ""
            except SourceError as failure:
                error = str(failure)
            self._last = Reading(self._names, error, self._clock() - began)
            self._first.set()
            self._stopping.wait(self._interval_s)
