"""A history that is damaged is set aside and begun anew; a folder that is none is refused."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from common.errors import ConfigError
from scaler.loop.history import History
from scaler.loop.history_file import FILE
from scaler.policy.memory import ADDITIONS

START = 1_700_000_000.0
NAME = "video-creator"
PAUSE = {"order": "pause", "reason": "a deploy"}


def history_in(folder: Path) -> History:
    return History(folder, retention_s=7 * 86_400)


def record(history: History, at: float, kind: str = "stay") -> None:
    history.record(NAME, at, kind, lambda: {"action": kind, "at": at}, lambda: {"at": at})


def filled(folder: Path) -> None:
    """With an order, a memory, and decisions on many pages."""
    history = history_in(folder)
    for number in range(400):
        name = f"{NAME}-{number:03}"
        history.record(name, START, "up", lambda: {"text": "x" * 500}, lambda: {"at": START})
    history.order(NAME, START, PAUSE, {"pause": PAUSE, ADDITIONS: {"of": "later"}})
    history.close()


def root_page(folder: Path, table: str) -> tuple[int, int]:
    """Where the table begins in the file, and the length of a page."""
    with closing(sqlite3.connect(folder / FILE)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = database.execute("PRAGMA page_size").fetchone()
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (number,) = database.execute(query, (table,)).fetchone()
    return (number - 1) * size, size


def garbage(folder: Path) -> None:
    (folder / FILE).write_bytes(b"no database at all\n" * 500)


def other_header(folder: Path) -> None:
    with (folder / FILE).open("r+b") as file:
        file.write(os.urandom(100))


def truncated(folder: Path) -> None:
    os.truncate(folder / FILE, 9000)


def bad_page_of(table: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        at, size = root_page(folder, table)
        with (folder / FILE).open("r+b") as file:
            file.seek(at)
            file.write(b"\xff" * size)

    spoil.__name__ = f"bad_page_of_{table}"
    return spoil


def another_programs(folder: Path) -> None:
    (folder / FILE).unlink()
    with closing(sqlite3.connect(folder / FILE)) as database:
        database.execute("CREATE TABLE decisions (id INTEGER, made BLOB)")


def kept_aside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(f"{FILE}.corrupt-*Z"))


@pytest.mark.parametrize(
    "spoil",
    [
        garbage,
        other_header,
        truncated,
        another_programs,
        bad_page_of("memories"),
        bad_page_of("orders"),
        bad_page_of("identities"),
        bad_page_of("additions"),
    ],
)
def test_what_is_damaged_at_the_start_is_set_aside(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    filled(tmp_path)
    spoil(tmp_path)
    damaged = (tmp_path / FILE).read_bytes()
    history = history_in(tmp_path)
    assert history.problem is None
    (aside,) = kept_aside(tmp_path)
    assert re.fullmatch(r"history\.sqlite\.corrupt-\d{8}T\d{6}\.\d{6}Z", aside)
    assert history.set_aside == str(tmp_path / aside)
    assert (tmp_path / aside).read_bytes() == damaged
    record(history, START + 1)
    history.order(NAME, START + 1, PAUSE, {})
    history.close()
    again = history_in(tmp_path)
    assert again.set_aside == ""
    assert len(again.decisions(NAME)) == 1
    assert again.orders(NAME, limit=1) == [PAUSE]
    again.close()


@pytest.mark.parametrize("table", ["memories", "identities", "additions", "decisions"])
def test_the_pause_outlives_damage_elsewhere(tmp_path: Path, table: str) -> None:
    filled(tmp_path)
    bad_page_of(table)(tmp_path)
    history = history_in(tmp_path)
    record(history, START + 1)
    history.flush()
    assert history.set_aside
    assert history.newest_orders() == {NAME: PAUSE}
    assert history.problem is None
    history.close()


def test_damage_that_is_met_by_a_reader_is_set_aside_too(tmp_path: Path) -> None:
    filled(tmp_path)
    bad_page_of("decisions")(tmp_path)
    history = history_in(tmp_path)
    # Nobody has looked at that table yet.
    if not history.set_aside:
        assert history.decisions(NAME) == []
    history.flush()
    assert history.set_aside
    assert history.decisions(NAME) == []
    assert history.problem is None
    kept = history.memory(NAME)
    assert kept is not None
    assert kept.content == {"pause": PAUSE, ADDITIONS: {"of": "later"}}
    history.close()


def test_damage_in_the_middle_of_a_run_loses_no_order(tmp_path: Path) -> None:
    history = history_in(tmp_path)
    record(history, START)
    history.flush()
    bad_page_of("orders")(tmp_path)
    with suppress(sqlite3.Error):
        history._file._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
    history.order(NAME, START + 1, PAUSE, {"pause": PAUSE})
    assert history.newest_orders() == {NAME: PAUSE}
    history.close()
    again = history_in(tmp_path)
    assert again.newest_orders() == {NAME: PAUSE}
    assert again.memory(NAME) == (START + 1, {"pause": PAUSE}, "")
    again.close()


def test_at_most_three_are_kept_and_the_log_names_what_went(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = []
    for _ in range(5):
        garbage(tmp_path)
        history = history_in(tmp_path)
        found.append(Path(history.set_aside).name)
        history.close()
    assert kept_aside(tmp_path) == found[-3:]
    removed = [each for each in caplog.records if "removed" in each.message]
    assert len(removed) == 2


@pytest.mark.parametrize("text", ["no JSON", "[" * 100_000, '"no object"', "\x00\xff"])
def test_a_row_that_cannot_be_read_costs_itself_alone(tmp_path: Path, text: str) -> None:
    history = history_in(tmp_path)
    record(history, START, "up")
    history.order(NAME, START, PAUSE, {"at": 1})
    history.flush()
    with closing(sqlite3.connect(tmp_path / FILE)) as database, database:
        for statement in (
            "INSERT INTO decisions VALUES (?, ?, '', ?)",
            "INSERT INTO orders VALUES (?, ?, ?)",
        ):
            database.execute(statement, (NAME, START + 1, text))
            database.execute(statement, (NAME, START + 2, text.encode("latin-1")))
        database.execute("INSERT INTO memories VALUES ('other', 1.0, ?)", (text,))
    assert [each["at"] for each in history.decisions(NAME)] == [START]
    assert history.orders(NAME) == [PAUSE]
    assert history.memories()[NAME].content == {"at": 1}
    assert history.problem is None
    history.close()


def a_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file"


def below_a_file(folder: Path) -> Path:
    return a_file(folder) / "history"


def database_is_a_folder(folder: Path) -> Path:
    (folder / FILE).mkdir()
    return folder


def too_long(folder: Path) -> Path:
    return folder / ("x" * 300)


def no_path(folder: Path) -> Path:
    return folder / "a\x00b"


@pytest.mark.parametrize("place", [a_file, below_a_file, database_is_a_folder, too_long, no_path])
def test_what_is_no_folder_is_refused(tmp_path: Path, place: Callable[[Path], Path]) -> None:
    with pytest.raises(ConfigError, match=r"HISTORY_PATH: .* allowed: a writable folder"):
        history_in(place(tmp_path))


@pytest.fixture
def anybodys() -> Iterator[Path]:
    """A folder that other users reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write anywhere."""
    before = os.geteuid()
    os.seteuid(65_534 if before == 0 else before)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("below", [".", "history"])
def test_a_folder_that_may_not_be_written_is_refused(anybodys: Path, below: str) -> None:
    (anybodys / "locked").mkdir(mode=0o555)
    with as_nobody(), pytest.raises(ConfigError, match="writable folder"):
        history_in(anybodys / "locked" / below)


def test_a_database_of_somebody_else_is_refused(anybodys: Path) -> None:
    filled(anybodys)
    (anybodys / FILE).chmod(0o400)
    with as_nobody(), pytest.raises(ConfigError, match="no permission to write"):
        history_in(anybodys)


def test_what_is_kept_is_plain_json(tmp_path: Path) -> None:
    filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        ((content,),) = database.execute("SELECT content FROM orders").fetchall()
    assert json.loads(content) == PAUSE
