"""The history's SQLite file: opened, written, read, and set aside when it is damaged."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import ConfigError
from common.logs import get

FILE = "history.sqlite"
FAULTS = (sqlite3.Error, OSError)
"""What a file that cannot be used now raises."""

_BUSY_S = 1.0
_READ_BUSY_S = 0.25
# On a disk that hangs no more readers than these are lost to it.
_READERS = 4
_READ_TURN_S = 0.5
_KEPT_ASIDE = 3
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS decisions (
    target TEXT NOT NULL, at REAL NOT NULL, action TEXT NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (target, at)
) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS orders (
    target TEXT NOT NULL, at REAL NOT NULL, content TEXT NOT NULL, PRIMARY KEY (target, at)
) WITHOUT ROWID""",
    # 0.1.0 writes rows of three columns into this one, which therefore never gets a fourth.
    """CREATE TABLE IF NOT EXISTS memories (
    target TEXT PRIMARY KEY, at REAL NOT NULL, content TEXT NOT NULL
) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS identities (
    target TEXT PRIMARY KEY, at REAL NOT NULL, identity TEXT NOT NULL
) WITHOUT ROWID""",
    # Nor may a memory's content have a name in it that 0.1.0 does not know.
    """CREATE TABLE IF NOT EXISTS additions (
    target TEXT PRIMARY KEY, at REAL NOT NULL, content TEXT NOT NULL
) WITHOUT ROWID""",
)
_COLUMNS = {
    "decisions": ("target", "at", "action", "content"),
    "orders": ("target", "at", "content"),
    "memories": ("target", "at", "content"),
    "identities": ("target", "at", "identity"),
    "additions": ("target", "at", "content"),
}
_PRECIOUS = ("orders", "memories", "identities", "additions")
"""Small, and not to be had again from elsewhere: checked at the start, rescued from damage."""
_WRONG_SETTING = {
    errno.EACCES,
    errno.EEXIST,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EPERM,
}
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# The connection is as good as before; a new one could find no room for what it needs.
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_LOCKED}
_log = get("history")


class Batch(NamedTuple):
    """Rows that are written in one transaction; each begins with target and epoch seconds."""

    decisions: Sequence[tuple[str, float, str, str]] = ()
    orders: Sequence[tuple[str, float, str]] = ()
    memories: Sequence[tuple[str, float, str]] = ()
    identities: Sequence[tuple[str, float, str]] = ()
    additions: Sequence[tuple[str, float, str]] = ()


class DamageError(sqlite3.DatabaseError):
    """The file is no history, or no longer one."""


class HistoryFile:
    """`folder`/history.sqlite. Reads come from any thread, all else from one at a time.

    Whatever does not work raises one of FAULTS, and is tried again by the next call.
    """

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError for a folder that is not one to write to; a disk that is full,
        read-only or failing is no such thing."""
        self.folder = folder
        self.path = folder / FILE
        self.set_aside = ""
        """Where a damaged file was put last; "" when there was none."""
        self._db: sqlite3.Connection | None = None
        self._inode = (0, 0)
        self._damage: sqlite3.Error | None = None
        self._rescued: dict[str, list[tuple[Any, ...]]] = {}
        self._turns = threading.BoundedSemaphore(_READERS)
        _check_setting(folder, self.path)

    def open(self) -> None:
        """Open or create it, where that is not done; one that is damaged is set aside first."""
        if self._damage is not None:
            self._put_aside(self._damage)
        if self._db is not None and self._inode != _inode(self.path):
            _log.warning("history file is gone; begun anew", path=str(self.path))
            self._let_go()
        if self._db is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._db = self._opened()
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise
            self._put_aside(error)
            self._db = self._opened()
        self._inode = _inode(self.path)

    def write(self, batch: Batch, *, durable: bool = False) -> None:
        """Write all of it or nothing. With `durable` it outlives a loss of power, too."""
        try:
            with self._transaction(durable=durable) as db:
                _insert(db, batch._asdict())
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise
            self._damage = error
            with self._transaction(durable=durable) as db:
                _insert(db, batch._asdict())

    def read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows. Waits a second at most for whoever has the file locked."""
        if not self._turns.acquire(timeout=_READ_TURN_S):
            raise TimeoutError("the disk does not answer")
        inode = self._inode
        try:
            return _rows(self.path, "mode=ro", query, values)
        except sqlite3.Error as error:
            if _is_damage(error):
                # Unless another file has taken its place by now.
                self._damage = error if self._inode == inode else self._damage
                raise
            if _kind_of(error) in _PASSING or not self._is_whole():
                raise
            # On a full or read-only disk there is no room for what readers share.
            return _rows(self.path, "immutable=1", query, values)
        finally:
            self._turns.release()

    def delete(self, statement: str, values: Sequence[Any] | Mapping[str, Any]) -> int:
        """How many rows a DELETE removed."""
        with self._transaction() as db:
            return db.execute(statement, values).rowcount

    def close(self) -> None:
        """Give it back; what was written stays."""
        self._let_go()

    @contextlib.contextmanager
    def _transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        self.open()
        db = self._db
        assert db is not None  # noqa: S101 - open() has raised otherwise
        try:
            db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                if db.in_transaction:
                    db.execute("ROLLBACK")
            if db.in_transaction or _kind_of(error) not in _PASSING:
                self._let_go()
            raise

    def _opened(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self.path, timeout=_BUSY_S, check_same_thread=False, isolation_level=None
        )
        try:
            _check_tables(db)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                db.execute(statement)
            _check_pages(db)
            _insert(db, self._rescued)
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        self._rescued = {}
        return db

    def _let_go(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()

    def _is_whole(self) -> bool:
        """Whether nothing of it is still in the log beside it."""
        try:
            return self._beside("-wal").stat().st_size == 0
        except FileNotFoundError:
            return True

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(FILE + suffix)

    def _put_aside(self, error: sqlite3.Error) -> None:
        """Nothing of a damaged file is deleted; what can be read of orders and memories is kept
        for the next one."""
        self._let_go()
        found = _readable(self.path)
        if any(found.values()):
            self._rescued = found
        aside = f"{FILE}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        for suffix in ("-shm", "-wal", ""):
            with contextlib.suppress(FileNotFoundError):
                self._beside(suffix).rename(self.path.with_name(aside + suffix))
        self._damage = None
        self.set_aside = str(self.path.with_name(aside))
        _log.error(
            "history damaged: set aside and begun anew",
            reason=str(error),
            path=self.set_aside,
            rescued=sum(map(len, self._rescued.values())),
        )
        kept = sorted(self.folder.glob(f"{FILE}.corrupt-*Z"))
        for old in kept[:-_KEPT_ASIDE]:
            _log.warning("oldest damaged history removed", path=str(old))
            for suffix in ("-shm", "-wal", ""):
                old.with_name(old.name + suffix).unlink(missing_ok=True)


def _check_setting(folder: Path, path: Path) -> None:
    problem = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            problem = f"{FILE} in it is a folder"
        elif not os.statvfs(folder).f_flag & os.ST_RDONLY:
            for each in (folder, path) if path.exists() else (folder,):
                if not os.access(each, os.R_OK | os.W_OK, effective_ids=True):
                    problem = f"no permission to write {each}"
    except ValueError as error:
        problem = str(error)
    except OSError as error:
        if error.errno not in _WRONG_SETTING:
            return
        problem = str(error)
    if problem:
        raise ConfigError("HISTORY_PATH", str(folder), f"a writable folder ({problem})")


def _is_damage(error: sqlite3.Error) -> bool:
    return isinstance(error, DamageError) or _kind_of(error) in _DAMAGE


def _kind_of(error: BaseException) -> int:
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def _inode(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_dev, found.st_ino


def _check_tables(db: sqlite3.Connection) -> None:
    """First, since another program's database is not to be changed."""
    for table, columns in _COLUMNS.items():
        present = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
        if present and not present.issuperset(columns):
            raise DamageError(f"{table} is another program's table")


def _check_pages(db: sqlite3.Connection) -> None:
    """What takes no time on a file of any size; damage elsewhere shows when it is met."""
    for table in _PRECIOUS:
        (found,) = db.execute(f"PRAGMA quick_check({table})").fetchone()
        if found != "ok":
            raise DamageError(found)


def _insert(db: sqlite3.Connection, rows: dict[str, Any]) -> None:
    for table, columns in _COLUMNS.items():
        if rows.get(table):
            marks = ", ".join("?" * len(columns))
            statement = f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names of our own
            db.executemany(statement, rows[table])


def _readable(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Of a damaged file the rows that are worth most, as far as they can be read."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for table in _PRECIOUS:
        query = f"SELECT {', '.join(_COLUMNS[table])} FROM {table}"  # noqa: S608 - names of our own
        rows = found[table] = []
        with contextlib.suppress(*FAULTS), _reader(path, "mode=ro") as db:
            for row in db.execute(query):
                if isinstance(row[0], str) and isinstance(row[1], float) and row[2]:
                    rows.append(row)
    return found


def _rows(path: Path, mode: str, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    with _reader(path, mode) as db:
        return db.execute(query, values).fetchall()


@contextlib.contextmanager
def _reader(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    address = f"{path.absolute().as_uri()}?{mode}"
    db = sqlite3.connect(address, uri=True, timeout=_READ_BUSY_S, isolation_level=None)
    # A damaged letter costs that letter.
    db.text_factory = lambda raw: raw.decode(errors="replace")
    try:
        yield db
    finally:
        db.close()
