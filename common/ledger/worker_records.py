"""Worker records: who is in the fleet, what each does, and whom the scaler asks to leave."""

from __future__ import annotations

import json
from datetime import datetime

from pydantic import ValidationError

from common.ledger.coordination import lease_key
from common.ledger.store import PREFIX, Store, wrapped
from common.records import WORKERS, DrainRequest, WorkerRecord

# Drain only who is idle at this very moment: reading the state and asking are one step.
# With a lease given, only its present holder may ask.
_REQUEST_DRAIN = """
if ARGV[4] ~= '' and redis.call('HGET', KEYS[3], 'token') ~= ARGV[4] then return 0 end
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then return 0 end
local fields = cjson.decode(record)
if fields['status'] ~= 'idle' then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
return 1
"""


class WorkerRecords(Store):
    """The record of each worker, and the drain request to it, if there is one."""

    def put_worker(self, record: WorkerRecord) -> WorkerRecord:
        """Write `record` with `last_seen` set to the ledger's now; returns what was written."""
        stamped = record.model_copy(update={"last_seen": self.now()})
        with wrapped():
            self._redis.hset(WORKERS, stamped.id, stamped.model_dump_json())
        return stamped

    def remove_worker(self, worker_id: str) -> None:
        """Forget a worker that has left, and any drain request to it."""
        with wrapped():
            pipe = self._redis.pipeline()
            pipe.hdel(WORKERS, worker_id)
            pipe.delete(_drain_key(worker_id))
            pipe.execute()

    def worker(self, worker_id: str) -> WorkerRecord | None:
        """One worker's record, or None when there is none that can be read."""
        with wrapped():
            entry = self._redis.hget(WORKERS, worker_id)
        return None if entry is None else _parse(entry)

    def workers(self) -> list[WorkerRecord]:
        """Every readable record; foreign or damaged entries of the hash are passed over."""
        with wrapped():
            entries = self._redis.hvals(WORKERS)
        return [record for entry in entries if (record := _parse(entry)) is not None]

    def prune(self, older_than_s: float) -> int:
        """Forget workers not seen for that long (they died without leaving); how many."""
        now = self.now()
        dead = [w.id for w in self.workers() if (now - w.last_seen).total_seconds() > older_than_s]
        if dead:
            with wrapped():
                self._redis.hdel(WORKERS, *dead)
        return len(dead)

    def request_drain(
        self, worker_id: str, reason: str, *, ttl_s: int = 60, lease: tuple[str, int] | None = None
    ) -> bool:
        """Ask an idle worker to leave; False when it is not idle or not known any more.

        With `lease` (name and token) also False when somebody else holds that by now.
        """
        name, token = lease or ("", "")
        content = json.dumps({"reason": reason, "at": self.now().isoformat()})
        keys = [WORKERS, _drain_key(worker_id), lease_key(name)]
        return bool(self._run(_REQUEST_DRAIN, keys, [worker_id, content, ttl_s, token]))

    def drain_request(self, worker_id: str) -> DrainRequest | None:
        """What was asked of this worker, if anything."""
        with wrapped():
            content = self._redis.get(_drain_key(worker_id))
        if content is None:
            return None
        fields = json.loads(content)
        return DrainRequest(worker_id, fields["reason"], datetime.fromisoformat(fields["at"]))

    def withdraw_drain(self, worker_id: str) -> None:
        """Take a drain request back."""
        with wrapped():
            self._redis.delete(_drain_key(worker_id))


def _drain_key(worker_id: str) -> str:
    return f"{PREFIX}drain:{worker_id}"


def _parse(entry: str) -> WorkerRecord | None:
    try:
        return WorkerRecord.model_validate_json(entry)
    except ValidationError:
        return None
