"""Worker records: who is in the fleet, what each does, and whom the scaler asks to leave."""

from __future__ import annotations

import json
from datetime import datetime

from pydantic import ValidationError

from common.ledger.coordination import lease_key
from common.ledger.store import PREFIX, LedgerError, Store
from common.records import WORKERS, DrainRequest, WorkerRecord

# Drain only who is idle at this very moment: reading the state and asking are one step.
# With a lease given, only its present holder may ask.
_REQUEST_DRAIN = """
if ARGV[4] ~= '' and redis.call('HGET', KEYS[3], 'token') ~= ARGV[4] then return 0 end
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then return 0 end
local readable, fields = pcall(cjson.decode, record)
if not readable or type(fields) ~= 'table' or fields['status'] ~= 'idle' then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
return 1
"""
_WITHDRAW_DRAIN = """
if ARGV[1] ~= '' and redis.call('HGET', KEYS[2], 'token') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
# A record of another process with the same id is left alone.
_WRITE = """
local entry = ARGV[3] ~= '' and redis.call('HGET', KEYS[1], ARGV[1])
if entry then
    local readable, fields = pcall(cjson.decode, entry)
    local holder = readable and type(fields) == 'table' and fields['instance']
    if type(holder) == 'string' and holder ~= '' and holder ~= ARGV[3] then return 0 end
end
if ARGV[2] == '' then
    redis.call('DEL', KEYS[2])
    return redis.call('HDEL', KEYS[1], ARGV[1])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""
# Only what is still as it was read: a worker that is back has written its record anew.
_FORGET = """
local gone = 0
for i = 1, #ARGV, 2 do
    if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
        gone = gone + redis.call('HDEL', KEYS[1], ARGV[i])
    end
end
return gone
"""
_PIECE = 1000
_FORGET_AT_ONCE = 200


class WorkerReplacedError(LedgerError):
    """Another process has this worker's id by now, and the record is that one's."""


class WorkerRecords(Store):
    """The record of each worker, and the drain request to it, if there is one."""

    def put_worker(self, record: WorkerRecord) -> WorkerRecord:
        """Write `record` with `last_seen` set to the ledger's now; returns what was written.

        Raises WorkerReplacedError where the record of that id is another process's.
        """
        stamped = record.model_copy(update={"last_seen": self.now()})
        keys, instance = [WORKERS, drain_key(record.id)], record.instance
        if not self._run(_WRITE, keys, [stamped.id, stamped.model_dump_json(), instance]):
            raise WorkerReplacedError(f"ledger: another process is worker {record.id} by now")
        return stamped

    def remove_worker(self, worker_id: str, instance: str = "") -> None:
        """Forget a worker that has left, and any drain request to it.

        With `instance`, only where the record is not another process's.
        """
        self._run(_WRITE, [WORKERS, drain_key(worker_id)], [worker_id, "", instance])

    def worker(self, worker_id: str) -> WorkerRecord | None:
        """One worker's record, or None when there is none that can be read."""
        with self._asking():
            entry = self._redis.hget(WORKERS, worker_id)
        return None if entry is None else parsed(entry)

    def prune(self, older_than_s: float, *, most: int = 2000) -> int:
        """Forget workers not seen for that long (they died without leaving); how many.

        At most `most` at once, so that nobody waits for long; entries that can't be read stay. A
        record from the future, of before the ledger's clock was set back, is of a dead one too.
        """
        now = self.now()
        dead: list[str] = []
        with self._asking():
            for name, entry in self._redis.hscan_iter(WORKERS, count=_PIECE):
                record = parsed(entry)
                if record and abs((now - record.last_seen).total_seconds()) > older_than_s:
                    dead += (name, entry)
                if len(dead) >= 2 * most:
                    break
        step = 2 * _FORGET_AT_ONCE
        pieces = [dead[at : at + step] for at in range(0, len(dead), step)]
        return sum(int(self._run(_FORGET, [WORKERS], piece)) for piece in pieces)

    def request_drain(
        self, worker_id: str, reason: str, *, ttl_s: int = 60, lease: tuple[str, int] | None = None
    ) -> bool:
        """Ask an idle worker to leave; False when it is not idle or not known any more.

        With `lease` (name and token) also False when somebody else holds that by now.
        """
        name, token = lease or ("", "")
        content = json.dumps({"reason": reason, "at": self.now().isoformat()})
        keys = [WORKERS, drain_key(worker_id), lease_key(name)]
        return bool(self._run(_REQUEST_DRAIN, keys, [worker_id, content, ttl_s, token]))

    def drain_request(self, worker_id: str) -> DrainRequest | None:
        """What was asked of this worker, if anything that can be read."""
        with self._asking():
            content = self._redis.get(drain_key(worker_id))
        if content is None:
            return None
        try:
            fields = json.loads(content)
            return DrainRequest(
                worker_id, str(fields["reason"]), datetime.fromisoformat(fields["at"])
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def withdraw_drain(self, worker_id: str, *, lease: tuple[str, int] | None = None) -> None:
        """Take a drain request back; with `lease` (name and token) only while we hold that."""
        name, token = lease or ("", "")
        self._run(_WITHDRAW_DRAIN, [drain_key(worker_id), lease_key(name)], [token])


def drain_key(worker_id: str) -> str:
    """The key of the drain request to this worker."""
    return f"{PREFIX}drain:{worker_id}"


def parsed(entry: str) -> WorkerRecord | None:
    """The record in an entry of the hash, or None when it can't be read."""
    try:
        return WorkerRecord.model_validate_json(entry)
    except ValidationError:
        return None
