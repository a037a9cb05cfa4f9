"""The fleet as it is read at every scrape: cheap also where thousands have died in it."""

from __future__ import annotations

import heapq
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

from common.ledger.store import Store, damaged, readable
from common.ledger.worker_records import parsed
from common.records import WORKERS, Entries, WorkerRecord

NAMED_SILENT = 1000
"""Of the silent so many are read in full, those seen last; it is the dead that are the most."""
# A piece of the hash, without the records that were last seen before ARGV[3] (in UTC, as our
# workers write it): of thousands of the dead none leaves Redis. What is written differently does.
# Names and entries come as one text each, since a reply of many parts takes long to read; no JSON
# has the character between them.
_RECENT = """
local piece = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local names, entries = {}, {}
for i = 1, #piece[2], 2 do
    local name, entry = piece[2][i], piece[2][i + 1]
    local _, from = string.find(entry, '"last_seen":"', 1, true)
    local at = from and string.match(entry, '^(%d+%-%d+%-%d+T%d+:%d+:%d+)[.%d]*Z"', from + 1)
    if not at or at >= ARGV[3] then
        if string.find(entry, '\\0', 1, true) then entry = '' end
        if string.find(name, '\\0', 1, true) then name, entry = string.gsub(name, '%z', '?'), '' end
        names[#names + 1] = name
        entries[#entries + 1] = entry
    end
end
return {piece[1], #names, table.concat(names, '\\0'), table.concat(entries, '\\0')}
"""
_PIECE = 1000
_SEEN = re.compile(r'"last_seen":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)[.\d]*Z"')


class FleetReading(Store):
    """Reads the hash of workers in pieces, so that nobody waits for Redis meanwhile."""

    def workers(self) -> list[WorkerRecord]:
        """Every readable record; foreign or damaged entries of the hash are passed over."""
        found, _ = _read(self._entries(""))
        return found

    def recent_workers(self, within_s: float, *, silent_after_s: float) -> Entries[WorkerRecord]:
        """The records of workers seen within `within_s` seconds, and the ids of damaged ones.

        Of those silent for `silent_after_s` only NAMED_SILENT are read; the others are counted.
        """
        now = self.now()
        entries = self._entries(_second(now - timedelta(seconds=within_s)))
        silent_since = _second(now - timedelta(seconds=silent_after_s))
        silent = [
            (seen.group(1), name)
            for name, entry in entries.items()
            if (seen := _SEEN.search(entry)) and seen.group(1) < silent_since
        ]
        named = heapq.nlargest(NAMED_SILENT, silent)
        left = {name: entries.pop(name) for _, name in set(silent).difference(named)}
        found, unread = _read(entries)
        unnamed, unread_too = _count(left)
        return Entries(found, (*unread, *unread_too), unnamed)

    def _entries(self, since: str) -> dict[str, str]:
        entries: dict[str, str] = {}
        cursor = None
        while cursor != "0":
            asked = [cursor or "0", _PIECE, since]
            cursor, count, names, texts = self._run(_RECENT, [WORKERS], asked)
            if count:
                entries.update(zip(names.split("\0"), texts.split("\0"), strict=True))
        return entries


def _read(entries: dict[str, str]) -> tuple[list[WorkerRecord], list[str]]:
    """The records, and the names of entries that are none."""
    found, unread = [], []
    for name, entry in entries.items():
        record = parsed(entry)
        # Under another's name it would be counted twice.
        if record is None or record.id != name:
            unread.append(readable(name))
        else:
            found.append(record)
    return found, unread


def _count(entries: dict[str, str]) -> tuple[Counter[tuple[str, bool]], list[str]]:
    """How many records by queue and whether there is a job, and the names of entries that are
    none. Some ten times as fast as reading the records."""
    counted: Counter[tuple[str, bool]] = Counter()
    unread = []
    for name, entry in entries.items():
        try:
            fields = json.loads(entry)
            queue, has_job = fields["queue"], fields["job_id"] is not None
        except (ValueError, KeyError, TypeError, RecursionError):
            queue, has_job = None, False
        if isinstance(queue, str) and not damaged(queue):
            counted[queue, has_job] += 1
        else:
            unread.append(readable(name))
    return counted, unread


def _second(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
