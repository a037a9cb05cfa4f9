"""Every decision, kept and readable, and the policy's memory across restarts.

The loop hands over and goes on; a thread writes. Only an order is waited for.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.logs import get
from scaler.loop.history_file import FAULTS, Batch, HistoryFile
from scaler.loop.history_pending import PendingRow, PendingRows, Span, apart, encoded
from scaler.loop.history_retention import EVERY_S as PRUNE_EVERY_S
from scaler.loop.history_retention import deletion
from scaler.policy.memory import ADDITIONS

_STEADY_EVERY_S = 60.0
_FLUSH_EVERY_S = 2.0
_TRY_AGAIN_S = (1.0, 30.0)
# A process that is started again and again prunes as well.
_PRUNE_FIRST_S = 60.0
_PRUNE_AT_A_TIME_S = 0.5
_BETWEEN_STEPS_S = 0.01
_ORDER_TURN_S = 3.0
_CLOSE_S = 5.0
_ALWAYS: Span = (-1e18, 1e18)
_log = get("history")


class HistoryError(Exception):
    """An order could not be written down. Says why, for a person."""


class Kept(NamedTuple):
    """A memory as it was last recorded."""

    at: float
    """Epoch seconds."""
    content: Any
    identity: str = ""
    """What it was recorded of; "" where that is not known."""


class _Last(NamedTuple):
    """Of a target, what the history has to know to take the next decision."""

    kept_at: float
    kind: str
    identity: str


class History:
    """Decisions, orders and memories by target. Safe for use from several threads.

    A disk that refuses costs nothing but what is kept: no method but `order` raises for it, what
    is read waits for it a second at most, and an order four.
    """

    def __init__(
        self,
        folder: Path,
        *,
        retention_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens or creates `folder`/history.sqlite. Raises ConfigError for a folder that cannot
        be one to write to; a disk that is full, read-only or failing is tried again, and so is a
        database that is locked. `clock` gives monotonic seconds."""
        self._file = HistoryFile(folder)
        self._clock = clock
        self._retention_s = retention_s
        self._pending = PendingRows()
        self._last: dict[str, _Last] = {}
        self._now: float | None = None
        self._writing = threading.Lock()
        self._unwritten: str | None = None
        self._unread: str | None = None
        self._wait_s = _FLUSH_EVERY_S
        self._prune_at = clock() + _PRUNE_FIRST_S
        self._pruning: Iterator[None] = iter(())
        self._stop = threading.Event()
        try:
            self._file.open()
        except FAULTS as error:
            self._refused(error)
        self._writer = threading.Thread(target=self._write_behind, name="history", daemon=True)
        self._writer.start()

    @property
    def problem(self) -> str | None:
        """What is wrong, as a sentence; None while nothing is."""
        folder, why = self._file.folder, self._unwritten
        if why is None:
            why = self._unread
            return None if why is None else f"the history in {folder} cannot be read: {why}"
        decisions, orders = self._pending.counts()
        shared = f"; orders in the ledger alone: {orders}" if orders else ""
        return (
            f"the history in {folder} cannot be written: {why};"
            f" decisions go on, {decisions} kept in memory{shared}"
        )

    @property
    def dropped(self) -> int:
        """Decisions that were not kept, since there was no room for them any longer."""
        return self._pending.dropped

    @property
    def set_aside(self) -> str:
        """Where a damaged database was put; "" when there was none."""
        return self._file.set_aside

    def record(
        self,
        target: str,
        at: float,
        kind: str,
        decision: Callable[[], Mapping[str, Any]],
        memory: Callable[[], Any],
        *,
        identity: str = "",
    ) -> None:
        """Take a decision made at `at` (epoch seconds), and the memory that it leaves. Returns
        at once.

        `kind` says what it amounts to: while it stays the same, one decision a minute is kept.
        Memory is always the newest. Both are made when they are written, on another thread, and
        must not wait for anything. `identity` says what it is a memory of. Of one target, calls
        of `record` and `order` come one after the other.
        """
        if not math.isfinite(at):
            return
        now, last = self._clock(), self._last.get(target)
        changed = last is None or last.kind != kind
        if last is None or changed or now - last.kept_at >= _STEADY_EVERY_S:
            self._last[target] = _Last(now, kind, identity)
            self._pending.decision(PendingRow(target, at, decision))
        elif last.identity != identity:
            self._last[target] = last._replace(identity=identity)
        self._pending.memory(PendingRow(target, at, memory, identity=identity, urgent=changed))
        self._now = at

    def order(self, target: str, at: float, content: Mapping[str, Any], memory: Any) -> None:
        """Keep what a person ordered, and the memory that it leaves: on the disk when this
        returns. Raises HistoryError when that is not possible; nothing of it is kept then."""
        known, additions = apart(memory)
        last = self._last.get(target)
        identity = last.identity if last else ""
        batch = Batch(
            orders=[(target, at, encoded(content))],
            memories=[(target, at, known)],
            identities=[(target, at, identity)] if identity else [],
            additions=[(target, at, additions)] if additions else [],
        )
        if not self._writing.acquire(timeout=_ORDER_TURN_S):
            raise HistoryError(f"the history in {self._file.folder} does not answer")
        try:
            self._file.write(batch, durable=True)
            self._pending.settle_memory(target)
        except FAULTS as error:
            self._refused(error)
            raise HistoryError(
                f"the history in {self._file.folder} cannot be written: {error}"
            ) from error
        finally:
            self._writing.release()

    def order_behind(self, target: str, at: float, content: Mapping[str, Any]) -> None:
        """Keep an order that outlives a restart elsewhere; written as soon as possible."""
        self._pending.order(PendingRow(target, at, lambda: content))

    def orders(self, target: str, *, limit: int = 100) -> list[dict[str, Any]]:
        """What people ordered, newest first."""
        query = "SELECT at, content FROM orders WHERE target = ?"
        return self._newest(query, target, self._pending.orders_of, _ALWAYS, limit)

    def newest_orders(self) -> dict[str, Any] | None:
        """The newest order of each target; None when that cannot be read now."""
        rows = self._read("SELECT target, max(at), content FROM orders GROUP BY target")
        if rows is None:
            return None
        found = {target: _parsed(content) for target, _, content in rows}
        return {target: content for target, content in found.items() if content is not None}

    def decisions(
        self,
        target: str,
        *,
        since: float | None = None,
        until: float | None = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """The newest decisions between two moments (epoch seconds), newest first."""
        span = (_ALWAYS[0] if since is None else since, _ALWAYS[1] if until is None else until)
        query = "SELECT at, content FROM decisions WHERE target = ?"
        return self._newest(query, target, self._pending.decisions_of, span, limit)

    def memories(self) -> dict[str, Kept]:
        """The memory of every target that was ever recorded, by its name."""
        return self._memories()

    def memory(self, target: str, identity: str = "", formerly: Sequence[str] = ()) -> Kept | None:
        """The memory of one target, as `chosen` from all."""
        memories = self._memories((target, *formerly), identity)
        return chosen(memories, target, identity, formerly)

    def flush(self) -> None:
        """Write now what is not written yet, as far as the disk takes it."""
        self._flush(everything=True)

    def close(self) -> None:
        """Write out and close, within five seconds."""
        self._stop.set()
        self._writer.join(_CLOSE_S)

    def _memories(self, names: Sequence[str] = (), identity: str = "") -> dict[str, Kept]:
        """Of all targets, or of those with these names, additions of the `identity` alone."""
        # First: what is written meanwhile is then in both.
        pending = self._pending.memories(names)
        found = {
            target: Kept(at, _parsed(content), whose)
            for target, at, content, whose in self._rows_of("memories", names)
        }
        for target, _, text, whose in self._rows_of("additions", names):
            kept = found.get(target)
            # Version 0.1.0 may have gone on since: then they are older, and still of use.
            if kept is not None and _may_be_one(whose, identity or kept.identity):
                found[target] = kept._replace(content=_joined(kept.content, _parsed(text)))
        for each in pending:
            content = _joined(_parsed(each.text()), _parsed(each.additions()))
            found[each.target] = Kept(each.at, content, each.identity)
        return {target: kept for target, kept in found.items() if kept.content is not None}

    def _rows_of(self, table: str, names: Sequence[str]) -> list[tuple[str, float, str, str]]:
        """Target, time, content and identity; nothing where that cannot be read now."""
        where = f" WHERE target IN ({', '.join('?' * len(names))})" if names else ""
        rows = self._read(
            f"SELECT target, {table}.at, content, coalesce(identity, '') FROM {table}"  # noqa: S608 - names of our own, and marks
            f" LEFT JOIN identities USING (target, at){where}",
            names,
        )
        return [(target, at, content, whose) for target, at, content, whose in rows or ()]

    def _newest(
        self,
        query: str,
        target: str,
        pending: Callable[[str, Span], dict[float, str]],
        span: Span,
        limit: int,
    ) -> list[dict[str, Any]]:
        unwritten = pending(target, span)
        rows = self._read(
            f"{query} AND at BETWEEN ? AND ? ORDER BY at DESC LIMIT ?", (target, *span, limit)
        )
        found = {at: text for at, text in rows or () if isinstance(at, float)} | unwritten
        newest = sorted(found.items(), reverse=True)[:limit]
        contents = [_parsed(text) for _, text in newest]
        return [content for content in contents if isinstance(content, dict)]

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]] | None:
        try:
            rows = self._file.read(query, values)
        except FAULTS as error:
            self._unread = str(error)
            return None
        self._unread = None
        return rows

    # The writer

    def _write_behind(self) -> None:
        while not self._stop.wait(self._wait_s):
            try:
                self._flush(everything=False)
                self._prune()
            except Exception:
                # A fault of ours must not end the writing.
                _log.exception("history not written")
        self.flush()
        if self._unwritten is not None:
            _log.warning(
                "history closed with decisions unwritten", number=self._pending.counts()[0]
            )
        with self._writing:
            self._file.close()

    def _flush(self, *, everything: bool) -> None:
        with self._writing:
            taken = self._pending.take(everything=everything)
            try:
                self._file.write(taken.batch)
            except FAULTS as error:
                self._refused(error)
                return
            self._pending.written(taken)
        self._wait_s = _FLUSH_EVERY_S
        if self._unwritten is not None:
            self._unwritten = None
            _log.info("history written again", dropped=self.dropped)
        if self._unread is not None:
            self._read("SELECT count(*) FROM memories")

    def _refused(self, error: Exception) -> None:
        if self._unwritten is None:
            self._wait_s = _TRY_AGAIN_S[0]
        else:
            self._wait_s = min(2 * self._wait_s, _TRY_AGAIN_S[1])
        if self._unwritten != str(error):
            self._unwritten = str(error)
            _log.warning("history not written", reason=self._unwritten)

    def _prune(self) -> None:
        """A little of what is due, so that writing goes on beside it."""
        now = self._clock()
        if self._unwritten is not None or self._now is None:
            return
        if now >= self._prune_at:
            self._prune_at = now + PRUNE_EVERY_S
            self._pruning = deletion(
                self._file, self._now, self._retention_s, lambda: self._writing
            )
            for target, last in list(self._last.items()):
                if last.kept_at < now - PRUNE_EVERY_S:
                    self._last.pop(target, None)
        until = time.monotonic() + _PRUNE_AT_A_TIME_S
        try:
            for _ in self._pruning:
                if self._stop.wait(_BETWEEN_STEPS_S) or time.monotonic() > until:
                    break
        except FAULTS as error:
            _log.warning("history not pruned", reason=str(error))


def chosen(
    memories: Mapping[str, Kept], target: str, identity: str = "", formerly: Sequence[str] = ()
) -> Kept | None:
    """Of all memories the newest that is `target`'s, kept under its name or a former one.

    One that was recorded of something else than `identity` is not; one of which that is not
    known, as when an older version kept it, is taken at its name.
    """
    found = [memories[name] for name in (target, *formerly) if name in memories]
    ours = [each for each in found if _may_be_one(each.identity, identity)]
    return max(ours, key=lambda each: each.at, default=None)


def _may_be_one(identity: str, other: str) -> bool:
    """Whether both may be the same target's: "" is not known."""
    return not (identity and other) or identity == other


def _joined(known: Any, additions: Any) -> Any:
    """A memory, of the parts in which it was written."""
    if not isinstance(known, dict) or additions is None:
        return known
    return {**known, ADDITIONS: additions}


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
