"""Orders given to any of several scalers hold at all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from pydantic import ValidationError

from common.ledger import Ledger, LedgerError
from common.logs import get
from scaler.loop.history import History
from scaler.policy.orders import Order

# Of two orders at one instant there must still be a later one.
_TICK_S = 0.001
# A ledger that hangs must not hold up every cycle.
_ASK_AGAIN_AFTER_S = 5.0
_log = get("orders")

Obey = Callable[[str, Order], None]


class OrderBoard(Protocol):
    """Where all scalers see the newest order for each target."""

    def newest(self) -> Mapping[str, Order] | None:
        """By target; None when that cannot be known now."""

    def put(self, target: str, order: Order) -> None:
        """Show an order unless a later one is shown already."""


class LedgerBoard:
    """The board in the ledger, beside the lease."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._clock = clock
        self._ask_at = float("-inf")
        self._unread: dict[str, str] = {}

    def newest(self) -> Mapping[str, Order] | None:
        """By target; None while the ledger does not answer."""
        if self._clock() < self._ask_at:
            return None
        try:
            kept = self._ledger.orders()
        except LedgerError as error:
            self._failed("orders of other scalers not read", error)
            return None
        found = {target: self._read(target, text) for target, text in kept.items()}
        return {target: order for target, order in found.items() if order is not None}

    def put(self, target: str, order: Order) -> None:
        """Show an order unless a later one is shown already; the next look tells whether it is."""
        try:
            self._ledger.put_order(target, order.at, order.model_dump())
        except LedgerError as error:
            self._failed("order not shared yet", error)

    def _failed(self, what: str, error: LedgerError) -> None:
        self._ask_at = self._clock() + _ASK_AGAIN_AFTER_S
        _log.warning(what, reason=str(error))

    def _read(self, target: str, text: str) -> Order | None:
        try:
            return Order.model_validate_json(text)
        except ValidationError as error:
            if self._unread.get(target) != text:
                self._unread[target] = text
                _log.warning("shared order unreadable", target=target, reason=str(error))
            return None


class SharedOrders:
    """This scaler's orders and the board's, kept the same. Safe for use from several threads.

    The newest order for a target holds. Each scaler's own are in its history; whichever of the
    two places has the newer one gives it to the other, so it matters neither which scaler was
    asked, nor whether the board was there then, nor which of the two has been lost since.
    """

    def __init__(self, history: History, board: OrderBoard | None) -> None:
        self._history = history
        self._board = board
        self._mine: dict[str, Order | None] = {}
        self._lock = threading.Lock()

    def give(self, target: str, now: float, content: Mapping[str, Any], obey: Obey) -> None:
        """A person orders `content` (fields of Order but its time) of this scaler at `now`."""
        shown = self._newest() or {}
        with self._lock:
            before = [each.at for each in (self._own(target), shown.get(target)) if each]
            # Scalers' clocks may disagree: what is ordered now is later than all before it.
            order = Order(at=max([now, *(at + _TICK_S for at in before)]), **content)
            self._take(target, order, obey)
        if self._board is not None:
            self._board.put(target, order)

    def sync(self, targets: Collection[str], obey: Obey) -> None:
        """Obey what was ordered of others since; show what the board does not know."""
        shown = self._newest()
        if shown is None or self._board is None:
            return
        for target in targets:
            theirs = shown.get(target)
            with self._lock:
                mine = self._own(target)
                if theirs and theirs != mine and (mine is None or theirs.at >= mine.at):
                    self._take(target, theirs, obey)
                    continue
            if mine and (theirs is None or mine.at > theirs.at):
                self._board.put(target, mine)

    def _newest(self) -> Mapping[str, Order] | None:
        return None if self._board is None else self._board.newest()

    def _take(self, target: str, order: Order, obey: Obey) -> None:
        obey(target, order)
        self._mine[target] = order

    def _own(self, target: str) -> Order | None:
        if target not in self._mine:
            kept = self._history.orders(target, limit=1)
            self._mine[target] = Order.model_validate(kept[0]) if kept else None
        return self._mine[target]
