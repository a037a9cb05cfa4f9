"""What is old enough is deleted, in small steps; what a wrong clock says is old is not."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from scaler.loop.history import History
from scaler.loop.history_file import Batch, HistoryFile
from scaler.loop.history_retention import (
    AT_ONCE,
    DELETE_DECISIONS,
    DELETE_ORDERS,
    deletion,
)
from tests.support.waiting import until

START = 1_700_000_000.0
DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
YEARS_S = 5 * 365 * DAY_S


@pytest.fixture
def file(tmp_path: Path) -> Iterator[HistoryFile]:
    file = HistoryFile(tmp_path)
    file.open()
    yield file
    file.close()


def decide(
    file: HistoryFile, first: float, last: float, every_s: float, target: str = "video"
) -> None:
    count = int((last - first) / every_s) + 1
    file.write(Batch(decisions=[(target, first + n * every_s, "up", "{}") for n in range(count)]))


def order(file: HistoryFile, target: str, *times: float) -> None:
    file.write(Batch(orders=[(target, at, "{}") for at in times]))


def remember(file: HistoryFile, target: str, at: float) -> None:
    file.write(Batch(memories=[(target, at, "{}")], identities=[(target, at, "it")]))


def prune(file: HistoryFile, now: float, retention_s: float = WEEK_S) -> None:
    for _ in deletion(file, now, retention_s, nullcontext):
        pass


def times(file: HistoryFile, table: str = "decisions", target: str = "video") -> list[float]:
    rows = file.read(f"SELECT at FROM {table} WHERE target = ? ORDER BY at", (target,))  # noqa: S608
    return [at for (at,) in rows]


def test_what_is_older_than_the_retention_goes(file: HistoryFile) -> None:
    decide(file, START - 30 * DAY_S, START, 3600.0)
    decide(file, START - 30 * DAY_S, START, DAY_S, target="radio")
    prune(file, START)
    assert times(file)[0] == START - WEEK_S
    assert times(file, target="radio")[0] == START - WEEK_S
    assert len(times(file)) == 7 * 24 + 1


@pytest.mark.parametrize("wrong_s", [3600.0, DAY_S, 6 * DAY_S, YEARS_S])
def test_a_clock_that_is_ahead_costs_only_as_much_as_it_was_wrong_for(
    file: HistoryFile, wrong_s: float
) -> None:
    decide(file, START - WEEK_S, START, 600.0)
    decide(file, START + wrong_s, START + wrong_s + 3600, 60.0)
    for hour in range(5):
        prune(file, START + wrong_s + hour * 900)
    # Two slices of an eighth of the retention, where the wrong hour falls on both of them.
    assert times(file)[0] <= START - WEEK_S + 2 * WEEK_S / 8


@pytest.mark.parametrize("back_s", [3600.0, YEARS_S])
def test_a_clock_that_is_behind_deletes_nothing(file: HistoryFile, back_s: float) -> None:
    decide(file, START - WEEK_S, START, 3600.0)
    before = times(file)
    prune(file, START - back_s)
    assert times(file) == before


def test_after_a_long_time_off_nothing_goes_before_there_is_something_newer(
    file: HistoryFile,
) -> None:
    decide(file, START - WEEK_S, START, 3600.0)
    remember(file, "video", START)
    order(file, "video", START - WEEK_S)
    prune(file, START + 30 * DAY_S)
    assert times(file)[0] <= START - WEEK_S + WEEK_S / 8
    assert times(file, "orders") == [START - WEEK_S]
    decide(file, START + 30 * DAY_S, START + 40 * DAY_S, 3600.0)
    prune(file, START + 40 * DAY_S)
    assert times(file)[0] == START + 33 * DAY_S


def test_the_newest_order_stays_as_long_as_its_target(file: HistoryFile) -> None:
    decide(file, START - 30 * DAY_S, START, 3600.0)
    long_ago = START - 20 * DAY_S
    for target, seen in (("video", START), ("gone", long_ago)):
        remember(file, target, seen)
        order(file, target, long_ago - 2, long_ago - 1)
    order(file, "radio", long_ago, START - 1)
    prune(file, START)
    assert times(file, "orders", "video") == [long_ago - 1]
    assert times(file, "orders", "gone") == []
    assert times(file, "orders", "radio") == [START - 1]
    assert file.read("SELECT target FROM memories") == [("video",)]
    assert file.read("SELECT target FROM identities") == [("video",)]


def test_an_empty_history_has_nothing_to_delete(file: HistoryFile) -> None:
    remember(file, "video", START - YEARS_S)
    prune(file, START)
    assert file.read("SELECT count(*) FROM memories") == [(1,)]


@pytest.mark.parametrize("statement", [DELETE_DECISIONS, DELETE_ORDERS])
def test_deletion_goes_by_the_key(file: HistoryFile, statement: str) -> None:
    database = file._db
    assert database is not None
    values = {"target": "video", "before": START, "most": 5}
    plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert any("PRIMARY KEY (target=? AND at=?)" in step for step in plan)
    assert any("PRIMARY KEY (target=? AND at<?)" in step for step in plan)
    assert not any(step.startswith("SCAN") for step in plan)


def test_finding_what_has_expired_reads_one_row_a_target(file: HistoryFile) -> None:
    for number in range(40):
        decide(file, START - WEEK_S, START, 60.0, target=f"t{number}")
    asked: list[tuple[str, Any]] = []

    def noted(query: str, values: Any = ()) -> list[tuple[Any, ...]]:
        asked.append((query, values))
        return HistoryFile.read(file, query, values)

    file.read = noted  # type: ignore[method-assign]
    prune(file, START - 1)
    database = file._db
    assert database is not None
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    database.set_progress_handler(step, 1)
    for query, values in asked:
        database.execute(query, values).fetchall()
    # Of 400,000 rows.
    assert steps < 50_000


def test_orders_and_pages_come_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 old rows among others are deleted by the writer, at most a few hundred at once."""
    monkeypatch.setattr("scaler.loop.history._FLUSH_EVERY_S", 0.01)
    file = HistoryFile(tmp_path)
    file.open()
    for number in range(20):
        decide(file, START - 2 * WEEK_S, START, 120.0, target=f"t{number}")
    file.close()
    now = 0.0
    history = History(tmp_path, retention_s=WEEK_S, clock=lambda: now)
    sizes: list[int] = []
    delete = history._file.delete

    def measured(statement: str, values: Any) -> int:
        assert history._writing.locked()
        sizes.append(delete(statement, values))
        return sizes[-1]

    history._file.delete = measured  # type: ignore[method-assign]
    history.record("t1", START, "stay", dict, dict)
    now = 61.0
    until(lambda: sum(sizes) > 1000, "the deletion has begun")
    ordered = 0
    while history._pruning.gi_frame is not None:  # type: ignore[attr-defined]
        ordered += 1
        history.order("t1", START + ordered, {"number": ordered}, {})
        assert history.decisions("t1", limit=1)
    assert ordered > 10
    assert len(history.orders("t1", limit=100_000)) == ordered
    history.close()
    assert max(sizes) <= AT_ONCE
    assert sum(sizes) == 20 * 5040
    rows = sqlite3.connect(tmp_path / "history.sqlite").execute("SELECT min(at) FROM decisions")
    assert rows.fetchone() == (START - WEEK_S,)


def test_closing_does_not_wait_for_the_deletion(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path)
    file.open()
    for number in range(20):
        decide(file, START - 2 * WEEK_S, START, 120.0, target=f"t{number}")
    file.close()
    now = 0.0
    history = History(tmp_path, retention_s=WEEK_S, clock=lambda: now)
    begun = threading.Event()
    delete = history._file.delete

    def noted(statement: str, values: Any) -> int:
        begun.set()
        return delete(statement, values)

    history._file.delete = noted  # type: ignore[method-assign]
    history.record("t1", START, "stay", dict, dict)
    now = 61.0
    assert begun.wait(120)
    history.close()
    until(lambda: not history._writer.is_alive(), "the writer has ended")
    file.open()
    assert file.read("SELECT count(*) FROM decisions") > [(20 * 5041,)]
    file.close()
