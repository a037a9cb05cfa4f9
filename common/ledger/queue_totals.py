"""Queue totals: how many jobs began and ended, and how long that took. They outlive all workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.ledger.store import PREFIX, Store, wrapped
from common.records import (
    DURATION_BUCKETS,
    STARTUP_BUCKETS,
    WAIT_BUCKETS,
    Histogram,
    Outcome,
    QueueCounters,
)

# Long enough that no outcome kept back during an outage comes after its mark has expired.
EVENT_TTL_S = 7 * 86_400
QUEUES = f"{PREFIX}queues"
_COUNT = """
if not redis.call('SET', KEYS[1], 1, 'NX', 'EX', ARGV[1]) then return 0 end
redis.call('SADD', KEYS[2], ARGV[2])
for i = 3, #ARGV, 2 do redis.call('HINCRBYFLOAT', KEYS[3], ARGV[i], ARGV[i + 1]) end
return 1
"""


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
        """The totals of every queue that has any, by queue name."""
        with wrapped():
            queues = sorted(self._redis.smembers(QUEUES))
            pipe = self._redis.pipeline(transaction=False)
            for queue in queues:
                pipe.hgetall(counters_key(queue))
            contents = pipe.execute()
        return [_counters(queue, fields) for queue, fields in zip(queues, contents, strict=True)]

    def _add(self, queue: str, event_id: str, steps: Mapping[str, float]) -> bool:
        keys = [f"{PREFIX}event:{event_id}", QUEUES, counters_key(queue)]
        args: list[Any] = [EVENT_TTL_S, queue]
        for name, step in steps.items():
            args += [name, step]
        return bool(self._run(_COUNT, keys, args))


def counters_key(queue: str) -> str:
    """The key of the totals of this queue."""
    return f"{PREFIX}counters:{queue}"


def _observation(name: str, bounds: Sequence[float], value: float) -> dict[str, float]:
    bound = next((str(bound) for bound in bounds if value <= bound), "+Inf")
    return {f"{name}:le:{bound}": 1, f"{name}:sum": value}


def _counters(queue: str, fields: Mapping[str, str]) -> QueueCounters:
    def total(name: str) -> int:
        return round(float(fields.get(name, 0)))

    return QueueCounters(
        queue=queue,
        vhost=fields.get("vhost", ""),
        started=total("started"),
        outcomes={outcome: total(f"outcome:{outcome}") for outcome in Outcome},
        redelivered=total("redelivered"),
        quarantined=total("quarantined"),
        refused=total("refused"),
        duration=_histogram("duration", DURATION_BUCKETS, fields),
        wait=_histogram("wait", WAIT_BUCKETS, fields),
        startup=_histogram("startup", STARTUP_BUCKETS, fields),
    )


def _histogram(name: str, bounds: Sequence[float], fields: Mapping[str, str]) -> Histogram:
    running, buckets = 0, []
    for label in (*map(str, bounds), "+Inf"):
        running += round(float(fields.get(f"{name}:le:{label}", 0)))
        buckets.append((float(label), running))
    return Histogram(tuple(buckets), float(fields.get(f"{name}:sum", 0.0)))
