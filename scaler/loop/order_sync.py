"""Orders given to any of several scalers hold at all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from pydantic import ValidationError

from common.ledger import Ledger, LedgerError
from common.logs import get
from scaler.loop.history import History, HistoryError
from scaler.policy.memory import Memory
from scaler.policy.orders import Order

# Of two orders at one instant there must still be a later one.
_TICK_S = 0.001
# A history that can't be read must not hold up every cycle.
_ASK_AGAIN_AFTER_S = 5.0
_log = get("orders")


class OrderBoard(Protocol):
    """Where all scalers see the newest order for each target."""

    def newest(self) -> Mapping[str, Order] | None:
        """By target; None when that cannot be known now."""

    def put(self, target: str, order: Order) -> bool:
        """Show an order unless a later one is shown already; whether it, or that one, is now."""


class LedgerBoard:
    """The board in the ledger, beside the lease."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._failed_by = ""
        self._unread: dict[str, str] = {}

    def newest(self) -> Mapping[str, Order] | None:
        """By target; None while the ledger does not answer."""
        try:
            kept = self._ledger.orders()
        except LedgerError as error:
            self._failed("orders of other scalers not read", error)
            return None
        self._failed_by = ""
        found = {target: self._read(target, text) for target, text in kept.items()}
        return {target: order for target, order in found.items() if order is not None}

    def put(self, target: str, order: Order) -> bool:
        """Show an order unless a later one is shown already; the next look tells whether it is.
        False when the ledger does not answer."""
        try:
            self._ledger.put_order(target, order.at, order.model_dump())
        except LedgerError as error:
            self._failed("order not shared yet", error)
            return False
        return True

    def _failed(self, what: str, error: LedgerError) -> None:
        if str(error) != self._failed_by:
            self._failed_by = str(error)
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

    def __init__(
        self,
        history: History,
        board: OrderBoard | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._history = history
        self._board = board
        self._clock = clock
        self._mine: dict[str, Order] = {}
        self._moved_s: dict[str, float] = {}
        self._read = False
        self._read_at = float("-inf")

    def shown(self) -> Mapping[str, Order] | None:
        """The newest orders of all scalers by target; None when they cannot be known now."""
        return None if self._board is None else self._board.newest()

    def latest(self, target: str, order: Order, shown: Mapping[str, Order] | None) -> Order:
        """`order`, later than all before it: scalers' clocks may disagree."""
        before = [each.at for each in (self._own(target), (shown or {}).get(target)) if each]
        return order.model_copy(update={"at": max([order.at, *(at + _TICK_S for at in before)])})

    def keep(self, target: str, order: Order, memory: Any) -> None:
        """Write down the order, and the memory that it leaves, so that it outlives a restart: in
        the history, or else on the board alone until the history can be written again. Raises
        HistoryError when neither takes it; it must not come into force then."""
        try:
            self._history.order(target, order.at, order.model_dump(), memory)
        except HistoryError as error:
            if self._board is None or not self._board.put(target, order):
                raise HistoryError(
                    f"not ordered, for it would not outlive a restart: {error};"
                    " nor can it be put into the ledger"
                ) from error
            _log.warning("order in the ledger alone", target=target, reason=str(error))
            self._history.order_behind(target, order.at, order.model_dump())
        self._mine[target] = order
        self._moved_s.pop(target, None)

    def due(
        self, target: str, memory: Memory, shown: Mapping[str, Order] | None, now: float
    ) -> Order | None:
        """The newest order, where `memory` has another one or none in force at `now` (epoch
        seconds). It is written down already, here or on the board."""
        mine, theirs = self._own(target), (shown or {}).get(target)
        newest = mine
        if theirs is not None and theirs != mine and (mine is None or theirs.at >= mine.at):
            newest = self._mine[target] = theirs
            self._moved_s.pop(target, None)
            self._history.order_behind(target, theirs.at, theirs.model_dump())
        if newest is None:
            return None
        newest = newest.moved(self._moved_s.get(target, 0.0))
        return None if _in_force(newest, now) == _in_force(memory.order, now) else newest

    def shift(self, by_s: float) -> None:
        """The clock was set: what is ordered here ends when it would have ended."""
        for target in self._mine:
            self._moved_s[target] = self._moved_s.get(target, 0.0) + by_s

    def share(self, targets: Collection[str], shown: Mapping[str, Order] | None) -> None:
        """Show the others what the board has not, or has older."""
        if self._board is None:
            return
        for target in targets:
            mine, theirs = self._own(target), (shown or {}).get(target)
            if mine and (theirs is None or mine.at > theirs.at):
                self._board.put(target, mine)

    def _own(self, target: str) -> Order | None:
        if not self._read and self._clock() >= self._read_at:
            self._read_at = self._clock() + _ASK_AGAIN_AFTER_S
            self._read_history()
        return self._mine.get(target)

    def _read_history(self) -> None:
        """All at once, and again later where the file cannot be read yet."""
        kept = self._history.newest_orders()
        if kept is None:
            return
        self._read = True
        for target, content in kept.items():
            try:
                order = Order.model_validate(content)
            except ValidationError as error:
                _log.warning("kept order unreadable", target=target, reason=str(error))
                continue
            mine = self._mine.get(target)
            if mine is None or order.at > mine.at:
                self._mine[target] = order


def _in_force(order: Order | None, now: float) -> tuple[object, ...] | None:
    """What of an order the memory has while it holds."""
    if order is None or not order.holds_at(now):
        return None
    return order.order, order.reason, order.until, order.replicas
