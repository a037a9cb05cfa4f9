"""What of the history is old enough to be deleted, and its deletion in small steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from scaler.loop.history_file import HistoryFile

EVERY_S = 3600.0
AT_ONCE = 500
"""Rows that one transaction deletes: little enough that no order waits for it noticeably."""

_SLICES = 8
# Each of these goes down the primary key (target, at) and reads no other rows.
_NAMES = """
WITH RECURSIVE names(name) AS (
    SELECT min(target) FROM {table}
    UNION ALL
    SELECT (SELECT min(target) FROM {table} WHERE target > name) FROM names WHERE name IS NOT NULL
)
"""
_NEWEST_BEFORE = f"""{_NAMES.format(table="decisions")}
SELECT max((SELECT max(at) FROM decisions WHERE target = name AND at < ?)) FROM names
"""  # noqa: S608 - names of our own
_EXPIRED = f"""{_NAMES}
SELECT name FROM names WHERE (SELECT min(at) FROM {{table}} WHERE target = name) < ?
"""  # noqa: S608 - names of our own
DELETE_DECISIONS = """
DELETE FROM decisions WHERE target = :target AND at IN (
    SELECT at FROM decisions WHERE target = :target AND at < :before ORDER BY at LIMIT :most
)
"""
DELETE_ORDERS = """
DELETE FROM orders WHERE target = :target AND at IN (
    SELECT at FROM orders WHERE target = :target AND at < :before AND (
        at < (SELECT max(at) FROM orders WHERE target = :target)
        OR NOT EXISTS (SELECT * FROM memories WHERE target = :target)
    ) ORDER BY at LIMIT :most
)
"""
_FORGET = (
    "DELETE FROM memories WHERE at < ?",
    "DELETE FROM identities WHERE target NOT IN (SELECT target FROM memories)",
    "DELETE FROM additions WHERE target NOT IN (SELECT target FROM memories)",
)


def cutoff(file: HistoryFile, now: float, retention_s: float) -> float:
    """Epoch seconds before which everything may go.

    `retention_s` before `now`, unless the history has been kept for less than that since: of the
    slices of time from which there are decisions, eight to the retention, the newest eight
    stay. So a clock that jumps ahead costs no more than the time that it is wrong for.
    """
    slice_s = retention_s / _SLICES
    end = math.inf
    for _ in range(_SLICES):
        ((newest,),) = file.read(_NEWEST_BEFORE, (end,))
        if newest is None:
            return -math.inf
        end = math.floor(newest / slice_s) * slice_s
    return min(end, now - retention_s)


def deletion(
    file: HistoryFile,
    now: float,
    retention_s: float,
    turn: Callable[[], AbstractContextManager[object]],
) -> Iterator[None]:
    """Deletes what is too old, a little at each step and in a `turn` of its own.

    A target's newest order stays for as long as the target is there; one that was not recorded
    since is forgotten.
    """
    before = cutoff(file, now, retention_s)
    for statement in _FORGET:
        with turn():
            file.delete(statement, (before,) if "?" in statement else ())
        yield
    for table, statement in (("decisions", DELETE_DECISIONS), ("orders", DELETE_ORDERS)):
        for (target,) in file.read(_EXPIRED.format(table=table), (before,)):
            gone = AT_ONCE
            while gone == AT_ONCE:
                values = {"target": target, "before": before, "most": AT_ONCE}
                with turn():
                    gone = file.delete(statement, values)
                yield
