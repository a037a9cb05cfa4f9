"""Events for the ledger.

While the ledger is unreachable they wait here, in order; each carries an id under which the ledger
counts it once, so sending twice changes nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from common.ledger import Ledger, LedgerError
from common.logs import get

# Some 15 jobs' worth of events a minute for a day.
MAX_EVENTS = 100_000
_log = get("ledger")

Event = Callable[[Ledger], object]


class Outbox:
    """Events for the ledger, from any thread; one thread sends them."""

    def __init__(self, wake: threading.Event) -> None:
        """`wake` is set when there is something to send."""
        self._wake = wake
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)

    def put(self, *events: Event) -> None:
        """Have the ledger take these, now or when it is back, after those put before."""
        self._events.extend(events)
        self._wake.set()

    def __len__(self) -> int:
        """How many events the ledger has not taken yet."""
        return len(self._events)

    def send(self, ledger: Ledger) -> None:
        """Send all. Raises LedgerError; what is not sent by then stays."""
        while self._events:
            try:
                self._events[0](ledger)
            except LedgerError:
                raise
            except Exception as error:  # a bug of ours; it must not block all that follow
                _log.error("event dropped", error=repr(error)[:300])
            self._events.popleft()
