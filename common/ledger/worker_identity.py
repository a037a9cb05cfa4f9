"""One worker for each WORKER_ID: it is taken at the start, and whoever lost it is told so.

Two workers under one id would count as one, and the record of the idle one would have the busy one
asked to leave.
"""

from __future__ import annotations

from common.ledger.store import LedgerError
from common.ledger.worker_records import WorkerRecords, drain_key, parsed
from common.records import WORKERS, WorkerRecord

_TRIES = 5
_REPLACE = """
local entry = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if entry ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('DEL', KEYS[2])
return 1
"""


class WorkerIdentity(WorkerRecords):
    """Ids of workers, each held by one process."""

    def take_identity(self, record: WorkerRecord, over: str | None = None) -> WorkerRecord | None:
        """Write `record` unless another process holds its id; the record that stands in the way.

        None means that the id is ours: there was no record that can be read, or one of the same
        `instance`, or one of the instance `over`, which the caller has found dead. A record that
        changed since it was looked at is looked at again, so one whose worker writes it still is
        never replaced unseen. What was asked of an earlier holder is withdrawn.
        """
        for _ in range(_TRIES):
            with self._asking():
                entry = self._redis.hget(WORKERS, record.id) or ""
            standing = parsed(entry)
            if standing is not None and standing.instance not in (record.instance, over):
                return standing
            stamped = record.model_copy(update={"last_seen": self.now()})
            keys = [WORKERS, drain_key(record.id)]
            if self._run(_REPLACE, keys, [record.id, entry, stamped.model_dump_json()]):
                return None
            if standing is not None and standing.instance != record.instance:
                # Written by its holder within this moment: not dead.
                return standing
        raise LedgerError(f"ledger: the record of worker {record.id} changes all the time")
