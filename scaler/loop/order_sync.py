"""Orders given to any of several scalers hold at all of them."""

from __future__ import annotations

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


class OrderSync:
    """This scaler's orders and the board's, kept the same.

    The newest order for a target holds. Each scaler's own are in its history; whichever of the
    two places has the newer one gives it to the other, so it matters neither which scaler was
    asked, nor whether the board was there then, nor which of the two has been lost since.
    Methods that name a target are called by one thread at a time for each target.
    """

    def __init__(self, history: History, board: OrderBoard | None) -> None:
        self._history = history
        self._board = board
        self._mine: dict[str, Order | None] = {}

    def shown(self) -> Mapping[str, Order] | None:
        """The newest orders of all scalers by target; None when they cannot be known now."""
        return None if self._board is None else self._board.newest()

    def latest(self, target: str, order: Order, shown: Mapping[str, Order] | None) -> Order:
        """`order`, later than all before it: scalers' clocks may disagree."""
        before = [each.at for each in (self._own(target), (shown or {}).get(target)) if each]
        return order.model_copy(update={"at": max([order.at, *(at + _TICK_S for at in before)])})

    def of_others(self, target: str, shown: Mapping[str, Order]) -> Order | None:
        """The order that another scaler was given, where this one does not have it yet."""
        mine, theirs = self._own(target), shown.get(target)
        if theirs is None or theirs == mine:
            return None
        return theirs if mine is None or theirs.at >= mine.at else None

    def keep(self, target: str, order: Order, memory: Any) -> None:
        """Write down the order, and the memory that it leaves, at once."""
        self._history.order(target, order.at, order.model_dump(), memory)
        self._mine[target] = order

    def share(self, targets: Collection[str], shown: Mapping[str, Order] | None) -> None:
        """Show the others what the board has not, or has older."""
        if self._board is None:
            return
        for target in targets:
            mine, theirs = self._own(target), (shown or {}).get(target)
            if mine and (theirs is None or mine.at > theirs.at):
                self._board.put(target, mine)

    def _own(self, target: str) -> Order | None:
        if target not in self._mine:
            kept = self._history.orders(target, limit=1)
            self._mine[target] = Order.model_validate(kept[0]) if kept else None
        return self._mine[target]
