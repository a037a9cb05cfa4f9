"""Which order is in force, out of the history, the board and the memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from scaler.loop.history import History, HistoryError
from scaler.loop.order_sync import OrderSync
from scaler.policy.memory import Memory, apply_order
from scaler.policy.orders import Order, OrderKind

START = 1_700_000_000.0
NAME = "video-creator"


class Board:
    """In memory; may be away."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.away = False

    def newest(self) -> Mapping[str, Order] | None:
        return None if self.away else dict(self.orders)

    def put(self, target: str, order: Order) -> bool:
        if not self.away:
            self.orders[target] = order
        return not self.away


class Later:
    """Monotonic seconds; enough for another try pass with each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 10
        return self.now


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path, retention_s=3600)
    yield history
    history.close()


@contextmanager
def unusable(folder: Path) -> Iterator[None]:
    """While neither reading nor writing is possible."""
    path = folder / "history.sqlite"
    for name in folder.iterdir():
        name.rename(name.with_name(f"away-{name.name}"))
    path.mkdir()
    try:
        yield
    finally:
        path.rmdir()
        for name in folder.glob("away-*"):
            name.rename(name.with_name(name.name.removeprefix("away-")))


def order(kind: OrderKind, at: float = START, until: float | None = None) -> Order:
    replicas = 3 if kind is OrderKind.OVERRIDE else None
    return Order(at=at, order=kind, reason="r", by="b", until=until, replicas=replicas)


PAUSE = order(OrderKind.PAUSE)
RESUME = order(OrderKind.RESUME, START + 1)
OVERRIDE = order(OrderKind.OVERRIDE, START + 1, until=START + 100)


def test_what_the_memory_has_is_not_due(history: History) -> None:
    for each in (PAUSE, OVERRIDE, RESUME):
        orders = OrderSync(history, None)
        orders.keep(NAME, each, {})
        assert orders.due(NAME, apply_order(Memory(), each), None, START + 2) is None
    assert OrderSync(history, None).due("other", Memory(order=PAUSE), None, START) is None


def test_a_memory_that_was_lost_or_is_of_another_queue_loses_no_order(history: History) -> None:
    OrderSync(history, None).keep(NAME, PAUSE, {})
    assert OrderSync(history, None).due(NAME, Memory(), None, START + 1) == PAUSE


@pytest.mark.parametrize(
    ("newest", "now", "due"),
    [
        (RESUME, START + 2, True),
        (OVERRIDE, START + 2, True),
        # It has ended, and with it what it replaced.
        (OVERRIDE, START + 200, True),
        (PAUSE, START + 2, False),
    ],
)
def test_the_newest_order_replaces_the_one_in_force(
    history: History, newest: Order, now: float, due: bool
) -> None:
    orders, memory = OrderSync(history, None), Memory(order=PAUSE)
    orders.keep(NAME, newest, {})
    found = orders.due(NAME, memory, None, now)
    assert (found == newest) is due
    if found is not None:
        assert orders.due(NAME, apply_order(memory, found), None, now) is None


def test_an_order_that_has_ended_is_not_taken_again(history: History) -> None:
    orders = OrderSync(history, None)
    orders.keep(NAME, OVERRIDE, {})
    assert orders.due(NAME, Memory(), None, START + 200) is None


def test_of_board_and_history_the_newer_one_is_due(history: History) -> None:
    board = Board()
    orders = OrderSync(history, board)
    orders.keep(NAME, PAUSE, {})
    assert orders.due(NAME, Memory(), {NAME: order(OrderKind.RESUME, START - 1)}, START) == PAUSE
    assert orders.due(NAME, Memory(order=PAUSE), {NAME: RESUME}, START + 2) == RESUME
    history.flush()
    assert history.newest_orders() == {NAME: RESUME.model_dump()}


def test_orders_that_can_be_read_only_later_are_due_then(tmp_path: Path) -> None:
    history = History(tmp_path, retention_s=3600)
    OrderSync(history, None).keep(NAME, PAUSE, {})
    history.close()
    other = sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None)
    with closing(other):
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        history = History(tmp_path, retention_s=3600)
        orders = OrderSync(history, None, clock=Later())
        assert orders.due(NAME, Memory(), None, START + 1) is None
        other.execute("ROLLBACK")
    assert orders.due(NAME, Memory(), None, START + 1) == PAUSE
    history.close()


def test_a_locked_history_is_not_asked_for_every_target(tmp_path: Path) -> None:
    history = History(tmp_path, retention_s=3600)
    asked = 0

    def unread() -> None:
        nonlocal asked
        asked += 1

    history.newest_orders = unread  # type: ignore[method-assign]
    orders = OrderSync(history, None, clock=lambda: 0.0)
    for number in range(1000):
        orders.due(f"t{number}", Memory(), None, START)
    assert asked == 1
    history.close()


def test_an_order_of_a_newer_version_is_passed_over(history: History) -> None:
    history.order("newer", START, {"order": "dance", "at": START}, {})
    history.order(NAME, START, PAUSE.model_dump(), {})
    orders = OrderSync(history, None)
    assert orders.due("newer", Memory(), None, START) is None
    assert orders.due(NAME, Memory(), None, START) == PAUSE


def test_what_neither_takes_is_not_known_afterwards(history: History, tmp_path: Path) -> None:
    board = Board()
    orders = OrderSync(history, board)
    assert orders.due(NAME, Memory(), {}, START) is None
    board.away = True
    with unusable(tmp_path):
        with pytest.raises(HistoryError, match="nor can it be put into the ledger"):
            orders.keep(NAME, PAUSE, {})
        assert orders.due(NAME, Memory(), None, START) is None
        board.away = False
        orders.share([NAME], {})
        assert board.orders == {}
        orders.keep(NAME, PAUSE, {})
        assert board.orders == {NAME: PAUSE}
        assert history.orders(NAME) == [PAUSE.model_dump()]
        history.flush()
        assert "orders in the ledger alone: 1" in (history.problem or "")
    history.flush()
    assert history.problem is None
    with closing(sqlite3.connect(tmp_path / "history.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM orders").fetchone() == (1,)
