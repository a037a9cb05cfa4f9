"""Queue totals: how many jobs began and ended, and how long that took. They outlive all workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.ledger.store import PREFIX, Store, damaged, readable
from common.records import (
    DURATION_BUCKETS,
    STARTUP_BUCKETS,
    WAIT_BUCKETS,
    Entries,
    Histogram,
    Outcome,
    QueueCounters,
)

# An event is sent again only where its answer was lost, within seconds or when the network is back.
# An outage of more than an hour after such a moment could count one event twice.
EVENT_TTL_S = 3600
TOTALS_TTL_S = 30 * 86_400
"""Totals are kept for that long after the last event, or the last heartbeat of the fleet."""
QUEUES = f"{PREFIX}queues"
# Beyond this a float no longer counts by ones.
_MOST = 2.0**53
# What is no number there can't be added to: it begins anew, so that no worker waits for ever with
# its events. All of it is ours by its key.
_COUNT = """
if not redis.call('SET', KEYS[1], 1, 'NX', 'EX', ARGV[1]) then return 0 end
for i, kind in ipairs({'set', 'hash'}) do
    local is = redis.call('TYPE', KEYS[i + 1]).ok
    if is ~= kind and is ~= 'none' then redis.call('DEL', KEYS[i + 1]) end
end
redis.call('SADD', KEYS[2], ARGV[3])
for i = 4, #ARGV, 2 do
    local added = redis.pcall('HINCRBYFLOAT', KEYS[3], ARGV[i], ARGV[i + 1])
    if type(added) == 'table' and added.err then
        redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
    end
end
redis.call('EXPIRE', KEYS[3], ARGV[2])
return 1
"""
# Totals of before they had an end get one.
_FORGET_QUEUES = """
local gone = 0
for i = 2, #ARGV do
    local left = redis.call('TTL', KEYS[i])
    if left == -2 then gone = gone + redis.call('SREM', KEYS[1], ARGV[i]) end
    if left == -1 then redis.call('EXPIRE', KEYS[i], ARGV[1]) end
end
return gone
"""
_FORGET_AT_ONCE = 500


class QueueTotals(Store):
    """Counters by queue. An event id is counted once, however often it is reported."""

    def count_started(
        self, queue: str, event_id: str, *, first: bool, wait_s: float | None = None
    ) -> bool:
        """An attempt has begun; `wait_s` from publishing to now, where known."""
        steps: dict[str, float] = {"started" if first else "redelivered": 1}
        if wait_s is not None:
            steps |= _observation("wait", WAIT_BUCKETS, wait_s)
        return self._add(queue, event_id, steps)

    def count_outcome(
        self, queue: str, event_id: str, outcome: Outcome, *, duration_s: float | None = None
    ) -> bool:
        """An attempt has ended; `duration_s` for one that is done."""
        steps: dict[str, float] = {f"outcome:{outcome}": 1}
        if duration_s is not None:
            steps |= _observation("duration", DURATION_BUCKETS, duration_s)
        return self._add(queue, event_id, steps)

    def count_startup(self, queue: str, event_id: str, seconds: float) -> bool:
        """A worker has begun to consume that many seconds after its start."""
        return self._add(queue, event_id, _observation("startup", STARTUP_BUCKETS, seconds))

    def count_quarantined(self, queue: str, event_id: str) -> bool:
        """A message was parked unread, as nobody could handle it."""
        return self._add(queue, event_id, {"quarantined": 1})

    def count_refused(self, queue: str, event_id: str) -> bool:
        """A queue has refused to take an outcome."""
        return self._add(queue, event_id, {"refused": 1})

    def counters(self) -> list[QueueCounters]:
        """The totals of every queue that has any that can be read, by queue name."""
        return self.totals().found

    def totals(self) -> Entries[QueueCounters]:
        """The same, and the queues whose totals are damaged."""
        with self._asking():
            queues = sorted(self._redis.smembers(QUEUES))
            pipe = self._redis.pipeline(transaction=False)
            for queue in queues:
                pipe.hgetall(counters_key(queue))
            contents = pipe.execute(raise_on_error=False)
        found, unread = [], []
        for queue, fields in zip(queues, contents, strict=True):
            read = None if damaged(queue) else _counters(queue, fields)
            if read is None:
                unread.append(readable(queue))
            else:
                found.append(read)
        return Entries(found, tuple(unread))

    def prune_queues(self) -> int:
        """Forget the names of queues whose totals have expired; how many."""
        with self._asking():
            queues = list(self._redis.smembers(QUEUES))
        gone = 0
        for at in range(0, len(queues), _FORGET_AT_ONCE):
            piece = queues[at : at + _FORGET_AT_ONCE]
            keys = [QUEUES, *map(counters_key, piece)]
            gone += int(self._run(_FORGET_QUEUES, keys, [TOTALS_TTL_S, *piece]))
        return gone

    def _add(self, queue: str, event_id: str, steps: Mapping[str, float]) -> bool:
        keys = [f"{PREFIX}event:{event_id}", QUEUES, counters_key(queue)]
        args: list[Any] = [EVENT_TTL_S, TOTALS_TTL_S, queue]
        for name, step in steps.items():
            args += [name, step]
        return bool(self._run(_COUNT, keys, args))


def counters_key(queue: str) -> str:
    """The key of the totals of this queue."""
    return f"{PREFIX}counters:{queue}"


def _observation(name: str, bounds: Sequence[float], value: float) -> dict[str, float]:
    bound = next((str(bound) for bound in bounds if value <= bound), "+Inf")
    return {f"{name}:le:{bound}": 1, f"{name}:sum": value}


def _counters(queue: str, fields: Any) -> QueueCounters | None:
    """What the hash of a queue says, or None when any of it can't be read."""
    if not isinstance(fields, dict) or damaged(fields.get("vhost", "")):
        return None
    try:
        amounts = {name: _amount(text) for name, text in fields.items() if name != "vhost"}
    except ValueError:
        return None

    def total(name: str) -> int:
        return round(amounts.get(name, 0))

    return QueueCounters(
        queue=queue,
        vhost=fields.get("vhost", ""),
        started=total("started"),
        outcomes={outcome: total(f"outcome:{outcome}") for outcome in Outcome},
        redelivered=total("redelivered"),
        quarantined=total("quarantined"),
        refused=total("refused"),
        duration=_histogram("duration", DURATION_BUCKETS, amounts),
        wait=_histogram("wait", WAIT_BUCKETS, amounts),
        startup=_histogram("startup", STARTUP_BUCKETS, amounts),
    )


def _amount(text: str) -> float:
    """A total. Raises ValueError for what no total can be."""
    amount = float(text)
    if not 0 <= amount <= _MOST:
        raise ValueError(f"{text} is no total")
    return amount


def _histogram(name: str, bounds: Sequence[float], amounts: Mapping[str, float]) -> Histogram:
    running, buckets = 0, []
    for label in (*map(str, bounds), "+Inf"):
        running += round(amounts.get(f"{name}:le:{label}", 0))
        buckets.append((float(label), running))
    return Histogram(tuple(buckets), amounts.get(f"{name}:sum", 0.0))
