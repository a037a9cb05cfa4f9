"""What the history keeps, when it writes it, and what it does while it cannot."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scaler.loop.history import History, HistoryError
from scaler.loop.history_pending import PendingRow, PendingRows
from tests.support.waiting import until

START = 1_700_000_000.0
NAME = "video-creator"


class Time:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def monotonic() -> Time:
    return Time()


@pytest.fixture
def history(tmp_path: Path, monotonic: Time) -> Iterator[History]:
    history = History(tmp_path, retention_s=7 * 86_400, clock=monotonic)
    yield history
    history.close()


def rows(folder: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """As any other tool reads the file."""
    with closing(sqlite3.connect(folder / "history.sqlite")) as database:
        return database.execute(query, values).fetchall()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While somebody else has the database for themselves."""
    database = sqlite3.connect(folder / "history.sqlite", isolation_level=None)
    with closing(database):
        database.execute("BEGIN EXCLUSIVE")
        yield
        database.execute("ROLLBACK")


def record(
    history: History, at: float, kind: str = "stay", *, target: str = NAME, **memory: Any
) -> None:
    history.record(
        target, at, kind, lambda: {"action": kind, "at": at}, lambda: {"at": at, **memory}
    )


def test_changes_are_kept_and_one_a_minute_while_nothing_changes(
    history: History, monotonic: Time
) -> None:
    for second in range(150):
        record(history, START + second, "up" if second == 30 else "stay")
        monotonic.now += 1
    kept = [each["at"] - START for each in history.decisions(NAME)]
    assert kept == [91, 31, 30, 0]


@pytest.mark.parametrize("jump_s", [-1e9, -3600, -119.5, 120, 3600, 1e9])
def test_a_clock_that_jumps_costs_no_steady_decision(
    history: History, monotonic: Time, jump_s: float
) -> None:
    for second in range(121):
        jumped = jump_s if second > 10 else 0.0
        record(history, START + second + jumped)
        monotonic.now += 1
    assert len(history.decisions(NAME)) == 3


def test_what_is_not_written_yet_is_read_all_the_same(history: History, tmp_path: Path) -> None:
    with locked(tmp_path):
        record(history, START, "up", busy=1)
        record(history, START + 1, "down", busy=2)
        assert [each["action"] for each in history.decisions(NAME)] == ["down", "up"]
        assert [each["at"] for each in history.decisions(NAME, until=START)] == [START]
        kept = history.memory(NAME)
        assert kept is not None
        assert kept[:2] == (START + 1, {"at": START + 1, "busy": 2})
    history.flush()
    assert [each["action"] for each in history.decisions(NAME)] == ["down", "up"]
    assert len(rows(tmp_path, "SELECT * FROM decisions")) == 2


def test_the_writer_writes_by_itself(history: History, tmp_path: Path) -> None:
    record(history, START)
    until(lambda: rows(tmp_path, "SELECT * FROM memories"), "the memory is written")
    until(lambda: rows(tmp_path, "SELECT * FROM decisions"), "the decision is written")


def test_closing_writes_what_is_left(tmp_path: Path) -> None:
    history = History(tmp_path, retention_s=3600)
    for number in range(700):
        record(history, START + number, str(number), target=f"t{number}")
    history.close()
    assert rows(tmp_path, "SELECT count(*) FROM decisions") == [(700,)]
    assert rows(tmp_path, "SELECT count(*) FROM memories") == [(700,)]


def test_what_cannot_be_made_costs_itself_alone(history: History, tmp_path: Path) -> None:
    def broken() -> Any:
        raise ZeroDivisionError

    history.record("broken", START, "up", broken, broken)
    history.record("odd", START, "up", lambda: {"a": object()}, lambda: {"b": {1, 2}})
    history.record("\ud800", START, "up", dict, dict)
    history.record("nowhen", float("nan"), "up", dict, dict)
    record(history, START)
    history.flush()
    assert history.problem is None
    assert rows(tmp_path, "SELECT target FROM decisions") == [(NAME,)]
    assert rows(tmp_path, "SELECT target FROM memories") == [(NAME,)]
    assert history.decisions("broken") == history.decisions("odd") == []


def test_a_locked_database_delays_only_the_writing(history: History, tmp_path: Path) -> None:
    record(history, START, "first")
    history.flush()
    with locked(tmp_path):
        record(history, START + 1, "up", busy=3)
        history.flush()
        assert history.problem == (
            f"the history in {tmp_path} cannot be written: database is locked; decisions go on, "
            "1 kept in memory"
        )
        assert [each["action"] for each in history.decisions(NAME)] == ["up", "first"]
        with pytest.raises(HistoryError, match="cannot be written: database is locked"):
            history.order(NAME, START + 2, {"order": "pause"}, {"pause": {}})
        assert history.orders(NAME) == []
    history.flush()
    assert history.problem is None
    assert history.orders(NAME) == []
    assert rows(tmp_path, "SELECT count(*) FROM decisions") == [(2,)]
    assert history.memory(NAME) == (START + 1, {"at": START + 1, "busy": 3}, "")


def test_a_start_on_a_locked_database_reads_it_once_it_can(tmp_path: Path) -> None:
    history = History(tmp_path, retention_s=3600)
    history.order(NAME, START, {"order": "pause"}, {"pause": {}})
    history.close()
    # Not even reading is possible beside this one.
    other = sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    history = History(tmp_path, retention_s=3600)
    assert "database is locked" in (history.problem or "")
    assert history.newest_orders() is None
    assert history.memories() == {}
    record(history, START + 1)
    assert history.memories().keys() == {NAME}
    other.execute("ROLLBACK")
    other.close()
    history.flush()
    assert history.newest_orders() == {NAME: {"order": "pause"}}
    assert history.problem is None
    history.close()


def test_of_what_is_refused_the_newest_stays(tmp_path: Path) -> None:
    history = History(tmp_path, retention_s=3600)
    with locked(tmp_path):
        for number in range(10_025):
            record(history, START + number, str(number), busy=number)
        assert history.dropped == 25
        assert history.decisions(NAME, limit=1)[0]["at"] == START + 10_024
    history.flush()
    assert rows(tmp_path, "SELECT count(*), min(at) FROM decisions") == [(10_000, START + 25)]
    assert history.memory(NAME) == (START + 10_024, {"at": START + 10_024, "busy": 10_024}, "")
    history.close()


def test_a_file_that_is_taken_away_is_begun_anew(history: History, tmp_path: Path) -> None:
    record(history, START)
    history.flush()
    for path in tmp_path.iterdir():
        path.unlink()
    tmp_path.rmdir()
    record(history, START + 1, "up")
    history.flush()
    history.order(NAME, START + 2, {"order": "pause"}, {})
    assert rows(tmp_path, "SELECT at FROM decisions") == [(START + 1,)]
    assert rows(tmp_path, "SELECT at FROM orders") == [(START + 2,)]


def test_an_order_is_not_undone_by_the_memory_before_it(history: History, tmp_path: Path) -> None:
    record(history, START, "up")
    history.order(NAME, START + 1, {"order": "pause"}, {"pause": {"reason": "x"}})
    history.flush()
    assert history.memory(NAME) == (START + 1, {"pause": {"reason": "x"}}, "")


def test_an_order_outlives_the_loss_of_power(history: History) -> None:
    said: list[str] = []
    database = history._file._db
    assert database is not None
    database.set_trace_callback(said.append)
    history.order(NAME, START, {"order": "pause"}, {})
    record(history, START + 1)
    history.flush()
    begun = [at for at, each in enumerate(said) if each.startswith("BEGIN")]
    assert [said[at - 1] for at in begun[:2]] == [
        "PRAGMA synchronous=FULL",
        "PRAGMA synchronous=NORMAL",
    ]


def test_every_memory_gets_its_turn() -> None:
    pending = PendingRows()
    written: dict[str, int] = {}

    def cycle(second: int, urgent: str = "") -> None:
        for number in range(1000):
            name = f"t{number}"
            entry = PendingRow(name, second, dict, identity="it", urgent=name == urgent)
            pending.memory(entry)

    for second in range(0, 30, 2):
        cycle(second)
        taken = pending.take(everything=False)
        # While it was written the loop went on.
        cycle(second + 1, urgent="t999")
        pending.written(taken)
        assert len(taken.memories) <= 1000 / 15 + 2
        assert len(taken.batch.identities) == len(taken.memories)
        for each in taken.memories:
            written[each.target] = written.get(each.target, 0) + 1
    assert len(written) == 1000
    assert written["t999"] >= 14


class Threads:
    """Work on threads of its own, and what failed of it."""

    def __init__(self) -> None:
        self.failed: list[BaseException] = []

    def start(self, work: Callable[[], None]) -> threading.Thread:
        def contained() -> None:
            try:
                work()
            except BaseException as error:
                self.failed.append(error)

        thread = threading.Thread(target=contained)
        thread.start()
        return thread


def record_much(history: History) -> None:
    for second in range(200):
        for target in ("a", "b", "c"):
            record(history, START + second, f"{second}", target=target, second=second)


def order_much(history: History, target: str) -> None:
    for number in range(30):
        history.order(target, START + number, {"number": number}, {"order": number})
        assert history.orders(target, limit=1) == [{"number": number}]


def look_at_pages(history: History, done: threading.Event) -> None:
    while not done.is_set():
        newest = history.decisions("a", limit=50)
        assert newest == sorted(newest, key=lambda each: -each["at"])
        history.memories()
        history.newest_orders()


def test_all_threads_at_once(tmp_path: Path) -> None:
    history, threads, done = History(tmp_path, retention_s=7 * 86_400), Threads(), threading.Event()
    readers = [threads.start(lambda: look_at_pages(history, done)) for _ in range(2)]
    writers = [threads.start(lambda: record_much(history))]
    writers += [threads.start(partial(order_much, history, name)) for name in ("x", "y")]
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    history.close()
    assert threads.failed == []
    assert history.dropped == 0
    query = "SELECT target, count(*) FROM {} GROUP BY target"
    assert rows(tmp_path, query.format("decisions")) == [("a", 200), ("b", 200), ("c", 200)]
    assert rows(tmp_path, query.format("orders")) == [("x", 30), ("y", 30)]
    assert rows(tmp_path, "SELECT at FROM memories WHERE target = 'a'") == [(START + 199,)]


def test_of_a_scaler_that_is_killed_the_orders_are_there(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from scaler.loop.history import History
history = History(Path({str(tmp_path)!r}), retention_s=3600)
history.record("video", 1.0, "up", dict, lambda: {{"busy": 1}})
history.order("video", 2.0, {{"order": "pause"}}, {{"pause": 1}})
os.kill(os.getpid(), signal.SIGKILL)
"""
    run = subprocess.run([sys.executable, "-c", program], check=False)
    assert run.returncode == -signal.SIGKILL
    history = History(tmp_path, retention_s=3600)
    assert history.newest_orders() == {"video": {"order": "pause"}}
    assert history.memory("video") == (2.0, {"pause": 1}, "")
    history.close()
