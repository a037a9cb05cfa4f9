"""A disk that refuses: cycles go on, and an order is in force where it outlives a restart."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from common.ledger import Ledger
from demo.stack import Stack
from scaler.loop.controller import Controller
from scaler.loop.history import HistoryError
from scaler.loop.order_sync import LedgerBoard
from scaler.policy.orders import Order, OrderKind
from scaler.policy.target import Target
from tests.support.crew import Crew, controller_of
from tests.support.small_disk import SmallDisk

pytestmark = pytest.mark.integration
NAME = "video-creator"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("disk") / "stack") as stack:
        yield stack.start("redis")


@pytest.fixture
def ledger(stack: Stack) -> Iterator[Ledger]:
    ledger = Ledger.connect(stack.redis_url)
    ledger._redis.flushall()
    yield ledger
    ledger.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path / "disk") as disk:
        yield disk


class DiskScaler:
    """A scaler that keeps its history on a small disk, with or without a ledger."""

    def __init__(self, folder: Path, ledger: Ledger | None = None) -> None:
        self.folder, self.ledger, self.crew = folder, ledger, Crew()
        self.crew.states[NAME] = {"w-1": "busy"}
        self.start()

    def start(self) -> None:
        board = None
        if self.ledger is not None:
            board = LedgerBoard(self.ledger)
        self.controller: Controller = controller_of(
            self.crew, [Target(max_workers=5)], self.folder, board
        )

    def stop(self) -> None:
        self.controller.history.close()

    def cycle(self) -> str:
        """What bounded the decision of one more cycle."""
        self.crew.now += 1
        (sentence,) = self.controller.cycle()
        assert "Error" not in sentence
        latest = self.controller.latest(NAME)
        assert latest is not None
        assert latest.decision.at == self.crew.now
        return latest.decision.bound

    def order(self, kind: OrderKind, **more: Any) -> None:
        order = Order(at=self.crew.now, order=kind, reason="a deploy", by="somebody", **more)
        self.controller.order(NAME, order)

    def flushed(self) -> str:
        """What is wrong after another try to write."""
        self.controller.history.flush()
        return self.controller.history.problem or ""

    def orders(self) -> list[str]:
        return [each["order"] for each in self.controller.history.orders(NAME)]

    def on_disk(self, table: str) -> int:
        with closing(sqlite3.connect(self.folder / "history.sqlite")) as database:
            (count,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
        return int(count)


@pytest.fixture
def alone(disk: SmallDisk) -> Iterator[DiskScaler]:
    scaler = DiskScaler(disk.folder)
    yield scaler
    scaler.stop()


@pytest.fixture
def shared(disk: SmallDisk, ledger: Ledger) -> Iterator[DiskScaler]:
    scaler = DiskScaler(disk.folder, ledger)
    yield scaler
    scaler.stop()


def fill(disk: SmallDisk, scaler: DiskScaler) -> None:
    """Until not even the log beside the database takes another row."""
    assert scaler.flushed() == ""
    disk.fill()
    for number in range(200):
        scaler.crew.waiting[NAME] = number % 7
        scaler.cycle()
    assert "database or disk is full" in scaler.flushed()


def test_cycles_go_on_and_all_of_it_is_written_later(disk: SmallDisk, alone: DiskScaler) -> None:
    fill(disk, alone)
    problem = alone.controller.history.problem or ""
    assert "cannot be written: database or disk is full; decisions go on, " in problem
    before = alone.controller.history.decisions(NAME, limit=500)
    assert len(before) > alone.on_disk("decisions")
    disk.clear()
    assert alone.flushed() == ""
    assert alone.controller.history.decisions(NAME, limit=500) == before
    assert alone.on_disk("decisions") == len(before)
    assert alone.controller.history.dropped == 0


def test_without_the_ledger_an_order_that_cannot_be_kept_is_not_in_force(
    disk: SmallDisk, alone: DiskScaler
) -> None:
    fill(disk, alone)
    with pytest.raises(HistoryError, match=r"would not outlive a restart: .*disk is full"):
        alone.order(OrderKind.PAUSE)
    assert alone.orders() == []
    assert alone.cycle() != "pause"
    alone.stop()
    disk.clear()
    alone.start()
    assert alone.orders() == []
    assert alone.cycle() != "pause"
    alone.order(OrderKind.PAUSE)
    assert alone.cycle() == "pause"


def test_with_the_ledger_a_pause_holds_though_the_disk_is_full(
    disk: SmallDisk, shared: DiskScaler
) -> None:
    fill(disk, shared)
    shared.order(OrderKind.PAUSE)
    assert shared.cycle() == "pause"
    assert shared.orders() == ["pause"]
    assert "orders in the ledger alone: 1" in shared.flushed()
    shared.stop()
    assert shared.on_disk("orders") == 0
    shared.start()
    assert shared.cycle() == "pause"
    assert "database or disk is full" in shared.flushed()
    disk.clear()
    assert shared.flushed() == ""
    assert shared.on_disk("orders") == 1
    shared.stop()
    # What was written later is enough without the ledger.
    shared.ledger = None
    shared.start()
    assert shared.cycle() == "pause"


def test_an_operator_may_resume_on_a_full_disk_too(disk: SmallDisk, shared: DiskScaler) -> None:
    shared.order(OrderKind.PAUSE)
    fill(disk, shared)
    assert shared.cycle() == "pause"
    shared.order(OrderKind.RESUME)
    assert shared.cycle() != "pause"
    shared.stop()
    shared.start()
    assert shared.cycle() != "pause"
    disk.clear()
    assert shared.flushed() == ""
    assert shared.orders() == ["resume", "pause"]


def test_with_neither_disk_nor_ledger_the_order_is_refused(
    stack: Stack, disk: SmallDisk, shared: DiskScaler
) -> None:
    fill(disk, shared)
    redis = stack.parts["redis"]
    redis.stop()
    try:
        with pytest.raises(HistoryError, match="nor can it be put into the ledger"):
            shared.order(OrderKind.PAUSE)
        assert shared.cycle() != "pause"
        assert shared.orders() == []
    finally:
        redis.start()
        redis.wait_ready()
    assert shared.cycle() != "pause"
    shared.order(OrderKind.PAUSE)
    assert shared.cycle() == "pause"


def test_others_orders_hold_at_a_scaler_whose_disk_is_full(
    disk: SmallDisk, shared: DiskScaler, ledger: Ledger, tmp_path: Path
) -> None:
    fill(disk, shared)
    other = DiskScaler(tmp_path / "other", ledger)
    other.crew.now = shared.crew.now
    other.order(OrderKind.OVERRIDE, until=other.crew.now + 600, replicas=4)
    assert shared.cycle() == other.cycle() == "override"
    other.stop()
    disk.clear()
    assert shared.flushed() == ""
    assert shared.on_disk("orders") == 1


def test_a_start_on_a_full_disk_goes_on_with_what_is_kept(
    disk: SmallDisk, alone: DiskScaler
) -> None:
    alone.order(OrderKind.PAUSE)
    alone.stop()
    disk.fill()
    alone.start()
    assert alone.cycle() == "pause"
    assert alone.orders() == ["pause"]
    assert alone.flushed()
    disk.clear()
    assert alone.flushed() == ""
    assert alone.orders() == ["pause"]


def test_a_first_start_on_a_full_disk_begins_once_there_is_room(
    disk: SmallDisk, tmp_path: Path
) -> None:
    disk.fill()
    scaler = DiskScaler(disk.folder / "history")
    scaler.cycle()
    assert "cannot be written" in scaler.flushed()
    disk.clear()
    assert scaler.flushed() == ""
    assert scaler.on_disk("memories") == 1
    scaler.stop()


def test_a_read_only_disk_is_read(disk: SmallDisk, alone: DiskScaler) -> None:
    alone.order(OrderKind.PAUSE)
    alone.stop()
    disk.read_only(wanted=True)
    alone.start()
    assert alone.cycle() == "pause"
    assert "cannot be written" in alone.flushed()
    with pytest.raises(HistoryError):
        alone.order(OrderKind.RESUME)
    assert alone.cycle() == "pause"
    disk.read_only(wanted=False)
    assert alone.flushed() == ""
    alone.order(OrderKind.RESUME)
    assert alone.cycle() != "pause"
    assert alone.orders() == ["resume", "pause"]


def test_a_disk_that_becomes_read_only_is_tried_again(disk: SmallDisk, shared: DiskScaler) -> None:
    shared.cycle()
    assert shared.flushed() == ""
    # As a file system does that has failed: who has a file open for writing keeps it open.
    shared.controller.history._file.close()
    disk.read_only(wanted=True)
    shared.order(OrderKind.PAUSE)
    assert shared.cycle() == "pause"
    assert "orders in the ledger alone: 1" in shared.flushed()
    disk.read_only(wanted=False)
    assert shared.flushed() == ""
    assert shared.on_disk("orders") == 1


def test_a_damaged_history_on_a_full_disk_is_set_aside_and_begun_later(
    disk: SmallDisk, shared: DiskScaler
) -> None:
    shared.order(OrderKind.PAUSE)
    shared.stop()
    path = disk.folder / "history.sqlite"
    path.write_bytes(b"no database" * 1000)
    disk.fill()
    shared.start()
    assert shared.controller.history.set_aside
    assert shared.cycle() == "pause"
    assert shared.flushed()
    disk.clear()
    assert shared.flushed() == ""
    assert shared.orders() == ["pause"]
