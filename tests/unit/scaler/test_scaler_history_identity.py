"""A memory comes back to the target that it is of, whatever that is called by now and whichever
version wrote it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scaler.loop.history import History, Kept, chosen
from scaler.loop.history_file import FILE

START = 1_700_000_000.0
OURS, OTHERS = "swarm shop_video video-queue /", "swarm shop_video audio-queue /"


class OlderHistory:
    """What version 0.1.0 does with the file, statement by statement."""

    SCHEMA = """
    CREATE TABLE IF NOT EXISTS decisions (
        target TEXT NOT NULL, at REAL NOT NULL, action TEXT NOT NULL, content TEXT NOT NULL,
        PRIMARY KEY (target, at)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS orders (
        target TEXT NOT NULL, at REAL NOT NULL, content TEXT NOT NULL, PRIMARY KEY (target, at)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS memories (
        target TEXT PRIMARY KEY, at REAL NOT NULL, content TEXT NOT NULL
    ) WITHOUT ROWID;
    """

    def __init__(self, folder: Path) -> None:
        self.db = sqlite3.connect(folder / FILE, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=NORMAL")
        self.db.executescript(self.SCHEMA)

    def __enter__(self) -> OlderHistory:
        return self

    def __exit__(self, *_: object) -> None:
        self.db.close()

    def record(self, target: str, at: float, decision: dict[str, Any], memory: Any) -> None:
        self.db.execute(
            "INSERT OR REPLACE INTO decisions VALUES (?, ?, ?, ?)",
            (target, at, str(decision.get("action", "")), json.dumps(decision)),
        )
        self._remember(target, at, memory)

    def order(self, target: str, at: float, content: dict[str, Any], memory: Any) -> None:
        self.db.execute(
            "INSERT OR REPLACE INTO orders VALUES (?, ?, ?)", (target, at, json.dumps(content))
        )
        self._remember(target, at, memory)

    def _remember(self, target: str, at: float, memory: Any) -> None:
        self.db.execute(
            "INSERT OR REPLACE INTO memories VALUES (?, ?, ?)", (target, at, json.dumps(memory))
        )

    def newest(self, table: str, target: str) -> list[Any]:
        rows = self.db.execute(
            f"SELECT content FROM {table} WHERE target = ? AND at BETWEEN ? AND ?"  # noqa: S608
            " ORDER BY at DESC LIMIT ?",
            (target, -1e18, 1e18, 100),
        ).fetchall()
        return [json.loads(row[0]) for row in rows]

    def memory(self, target: str) -> tuple[float, Any] | None:
        row = self.db.execute(
            "SELECT at, content FROM memories WHERE target = ?", (target,)
        ).fetchone()
        return None if row is None else (row[0], json.loads(row[1]))


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path, retention_s=7 * 86_400)
    yield history
    history.close()


def record(history: History, target: str, at: float, identity: str, **memory: Any) -> None:
    history.record(target, at, "stay", dict, lambda: memory, identity=identity)


@pytest.mark.parametrize("written", [True, False])
def test_another_queues_memory_does_not_come_back(history: History, written: bool) -> None:
    record(history, "video", START, OTHERS, busy=3)
    if written:
        history.flush()
    assert history.memory("video", OURS) is None
    assert history.memory("video", OTHERS) == Kept(START, {"busy": 3}, OTHERS)
    assert history.memories() == {"video": Kept(START, {"busy": 3}, OTHERS)}


def test_an_orders_memory_is_of_the_same_target(history: History) -> None:
    record(history, "video", START, OURS)
    history.order("video", START + 1, {"order": "pause"}, {"pause": {}})
    assert history.memory("video", OURS) == Kept(START + 1, {"pause": {}}, OURS)
    assert history.memory("video", OTHERS) is None


def test_the_target_that_a_name_stands_for_may_change_and_change_back(history: History) -> None:
    for number, identity in enumerate((OURS, OTHERS, OURS)):
        record(history, "video", START + number, identity, number=number)
        history.flush()
        assert history.memory("video", identity) == Kept(
            START + number, {"number": number}, identity
        )


def test_a_former_name_is_read_where_there_is_none_by_the_present_one(history: History) -> None:
    history.order("video", START, {"order": "pause"}, {"pause": {}})
    assert history.memory("shop_video", OURS) is None
    kept = history.memory("shop_video", OURS, formerly=["video"])
    assert kept == Kept(START, {"pause": {}})
    record(history, "shop_video", START + 1, OURS, busy=1)
    kept = history.memory("shop_video", OURS, formerly=["video"])
    assert kept == Kept(START + 1, {"busy": 1}, OURS)


def test_of_two_names_the_newer_memory_counts_and_never_another_targets() -> None:
    kept = {
        "shop_video": Kept(START, "before the rollback", OURS),
        "video": Kept(START + 9, "of the rollback"),
        "radio": Kept(START + 99, "another", OTHERS),
    }
    found = chosen(kept, "shop_video", OURS, formerly=["video", "radio", "nothing"])
    assert found is kept["video"]
    assert chosen(kept, "radio", OURS) is None
    assert chosen({}, "radio", OURS, formerly=["video"]) is None


def test_an_older_version_goes_on_with_what_this_one_wrote(tmp_path: Path) -> None:
    history = History(tmp_path, retention_s=7 * 86_400)
    record(history, "video", START, OURS, busy=2)
    history.order("video", START + 1, {"order": "pause", "reason": "x"}, {"pause": {"reason": "x"}})
    history.close()
    with OlderHistory(tmp_path) as older:
        assert older.memory("video") == (START + 1, {"pause": {"reason": "x"}})
        assert older.newest("orders", "video") == [{"order": "pause", "reason": "x"}]
        assert len(older.newest("decisions", "video")) == 1
        older.record("video", START + 2, {"action": "up"}, {"pause": {"reason": "x"}, "busy": 4})
        older.order("video", START + 3, {"order": "resume"}, {"pause": None, "busy": 5})
        assert older.memory("video") == (START + 3, {"pause": None, "busy": 5})


@pytest.mark.parametrize("killed", [True, False])
def test_this_version_goes_on_with_what_an_older_one_wrote_meanwhile(
    tmp_path: Path, killed: bool
) -> None:
    history = History(tmp_path, retention_s=7 * 86_400)
    record(history, "video", START, OTHERS, busy=2)
    history.close()
    older = OlderHistory(tmp_path)
    older.record("video", START + 1, {"action": "up"}, {"pause": None})
    older.order("video", START + 2, {"order": "pause"}, {"pause": {"reason": "y"}})
    if not killed:
        older.db.close()
    history = History(tmp_path, retention_s=7 * 86_400)
    assert history.set_aside == ""
    # Of which queue that version took it for is not known.
    assert history.memory("video", OURS) == Kept(START + 2, {"pause": {"reason": "y"}})
    assert history.newest_orders() == {"video": {"order": "pause"}}
    assert [each.get("action") for each in history.decisions("video")] == ["up", None]
    history.close()
    older.db.close()


def test_no_table_of_the_older_version_has_changed(tmp_path: Path) -> None:
    History(tmp_path, retention_s=3600).close()
    (tmp_path / "older").mkdir()
    OlderHistory(tmp_path / "older").db.close()

    def tables(folder: Path) -> dict[str, list[Any]]:
        with closing(sqlite3.connect(folder / FILE)) as database:
            names = ("decisions", "orders", "memories")
            return {
                name: database.execute(f"PRAGMA table_info({name})").fetchall() for name in names
            }

    assert tables(tmp_path) == tables(tmp_path / "older")
