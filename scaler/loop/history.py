"""Every decision, kept and readable, and the policy's memory across restarts, in SQLite."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import ConfigError

_STEADY_EVERY_S = 60.0
_PRUNE_EVERY_S = 3600.0
_SCHEMA = """
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


class HistoryError(Exception):
    """Something could not be written down; the sentence is fit for a person."""


class History:
    """Decisions and memories by target. Safe for use from several threads."""

    def __init__(self, folder: Path, *, retention_s: float) -> None:
        """Opens or creates `folder`/history.sqlite; raises ConfigError when it can't."""
        path = folder / "history.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                "HISTORY_PATH", str(folder), f"a writable folder ({error})"
            ) from error
        self._lock = threading.Lock()
        self._retention_s = retention_s
        self._last: dict[str, tuple[float, str]] = {}
        self._pruned_at = 0.0

    def record(
        self, target: str, at: float, kind: str, decision: Mapping[str, Any], memory: Any
    ) -> None:
        """Keep a decision and the memory that it leaves.

        `kind` says what it amounts to: while it stays the same, one decision a minute is kept.
        Memory is always the newest.
        """
        before = self._last.get(target)
        with self._lock:
            if before is None or before[1] != kind or at - before[0] >= _STEADY_EVERY_S:
                self._last[target] = (at, kind)
                self._db.execute(
                    "INSERT OR REPLACE INTO decisions VALUES (?, ?, ?, ?)",
                    (target, at, str(decision.get("action", "")), json.dumps(decision)),
                )
            self._db.execute(
                "INSERT OR REPLACE INTO memories VALUES (?, ?, ?)", (target, at, json.dumps(memory))
            )
            if at - self._pruned_at > _PRUNE_EVERY_S:
                self._pruned_at = at
                for table in ("decisions", "orders"):
                    self._db.execute(
                        f"DELETE FROM {table} WHERE at < ?",  # noqa: S608 - names of our own
                        (at - self._retention_s,),
                    )

    def order(self, target: str, at: float, content: Mapping[str, Any], memory: Any) -> None:
        """Keep what a person ordered, and the memory that it leaves, at once."""
        with self._lock:
            self._db.execute(
                "INSERT OR REPLACE INTO orders VALUES (?, ?, ?)", (target, at, json.dumps(content))
            )
            self._db.execute(
                "INSERT OR REPLACE INTO memories VALUES (?, ?, ?)", (target, at, json.dumps(memory))
            )

    def orders(self, target: str, *, limit: int = 100) -> list[dict[str, Any]]:
        """What people ordered, newest first."""
        return self._newest("orders", target, (-1e18, 1e18), limit)

    def decisions(
        self,
        target: str,
        *,
        since: float | None = None,
        until: float | None = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """The newest decisions between two moments (epoch seconds), newest first."""
        span = (-1e18 if since is None else since, 1e18 if until is None else until)
        return self._newest("decisions", target, span, limit)

    def _newest(
        self, table: str, target: str, span: tuple[float, float], limit: int
    ) -> list[dict[str, Any]]:
        with self._lock:
            rows = self._db.execute(
                f"SELECT content FROM {table} WHERE target = ? AND at BETWEEN ? AND ?"  # noqa: S608 - names of our own
                " ORDER BY at DESC LIMIT ?",
                (target, *span, limit),
            ).fetchall()
        return [json.loads(row[0]) for row in rows]

    def memory(self, target: str) -> tuple[float, Any] | None:
        """(epoch seconds, memory) as last recorded, or None."""
        with self._lock:
            row = self._db.execute(
                "SELECT at, content FROM memories WHERE target = ?", (target,)
            ).fetchone()
        return None if row is None else (row[0], json.loads(row[1]))

    def close(self) -> None:
        """Write out and close."""
        with self._lock:
            self._db.close()
