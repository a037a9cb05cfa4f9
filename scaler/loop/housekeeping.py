"""What the ledger no longer needs is removed, by the scaler that leads."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Protocol

from common.ledger import LedgerError
from common.logs import get

EVERY_S = 60.0
FORGET_WORKERS_S = 3600.0
"""Far above what makes a worker unhealthy (three heartbeats, of 300 s at most) or unreported (ten
minutes unless set otherwise). One that is back later still is there again at its next heartbeat."""
FORGET_ORDERS_S = 7 * 86_400.0
"""Longer than a service is away that somebody means to deploy again."""
_log = get("housekeeping")


class PrunedLedger(Protocol):
    """Of the ledger, what has no end by itself."""

    def prune(self, older_than_s: float) -> int:
        """Forget workers not seen for that long; how many."""

    def prune_orders(self, targets: Collection[str], older_than_s: float) -> int:
        """Forget older orders for targets that are none of `targets`; how many."""

    def prune_queues(self) -> int:
        """Forget the names of queues whose totals have expired; how many."""


class Housekeeping:
    """Called after every cycle; now and then it prunes the ledger, while this scaler leads."""

    def __init__(
        self,
        ledger: PrunedLedger,
        *,
        leads: Callable[[], bool],
        targets: Callable[[], Collection[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._leads = leads
        self._targets = targets
        self._clock = clock
        self._next_at = clock()

    def __call__(self) -> None:
        """Prune, where that is due and ours to do."""
        if self._clock() < self._next_at or not self._leads():
            return
        self._next_at = self._clock() + EVERY_S
        try:
            workers = self._ledger.prune(FORGET_WORKERS_S)
            orders = self._ledger.prune_orders(self._targets(), FORGET_ORDERS_S)
            queues = self._ledger.prune_queues()
        except LedgerError as error:
            _log.warning("ledger not pruned", reason=str(error))
            return
        if workers or orders or queues:
            _log.info("ledger pruned", workers=workers, orders=orders, queues=queues)
