"""The fleet ledger in Redis: who works, on what, with what outcome. The only user of `redis`.

Keys:
    video_workers                hash, worker id -> WorkerRecord as JSON
    <job_id>                     string, JobStatus as JSON (RabbitReels' own contract)
    autoscaler:drain:<worker>    string, a drain request, expires
    autoscaler:claim:<job_id>    hash worker, token; expires
    autoscaler:token             the fencing token counter
    autoscaler:lease:<name>      hash holder, token: who acts; expires
    autoscaler:orders            hash, target -> the newest order that a person gave, as JSON
    autoscaler:announced:<order> string, set once an order's result is announced, expires
    autoscaler:event:<id>        string, marks an event as counted, expires
    autoscaler:queues            set of queues that have counters
    autoscaler:counters:<queue>  hash of totals
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import redis
from pydantic import ValidationError

from common.jobs import JobStatus
from common.records import (
    DURATION_BUCKETS,
    STARTUP_BUCKETS,
    WAIT_BUCKETS,
    Claim,
    DrainRequest,
    Histogram,
    Outcome,
    QueueCounters,
    WorkerRecord,
)

WORKERS = "video_workers"
_PREFIX = "autoscaler:"
_QUEUES = f"{_PREFIX}queues"
_TOKEN = f"{_PREFIX}token"
_ORDERS = f"{_PREFIX}orders"
# Long enough that no outcome kept back during an outage comes after its mark has gone.
EVENT_TTL_S = 7 * 86_400
ANNOUNCED_TTL_S = 7 * 86_400

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
_TAKE_LEASE = """
local holder = redis.call('HGET', KEYS[1], 'holder')
if not holder then
    redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'token', redis.call('INCR', KEYS[2]))
elseif holder ~= ARGV[1] then
    return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return tonumber(redis.call('HGET', KEYS[1], 'token'))
"""
_DROP_LEASE = """
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
_PUT_ORDER = """
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if kept and cjson.decode(kept)['at'] >= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""
_CLAIM = """
local token = redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[1], 'worker', ARGV[1], 'token', token)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return token
"""
_ONLY_IF_MINE = "if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end\n"
_RENEW = _ONLY_IF_MINE + "redis.call('EXPIRE', KEYS[1], ARGV[2]) return 1"
_RELEASE = _ONLY_IF_MINE + "redis.call('DEL', KEYS[1]) return 1"
_COUNT = """
if not redis.call('SET', KEYS[1], 1, 'NX', 'EX', ARGV[1]) then return 0 end
redis.call('SADD', KEYS[2], ARGV[2])
for i = 3, #ARGV, 2 do redis.call('HINCRBYFLOAT', KEYS[3], ARGV[i], ARGV[i + 1]) end
return 1
"""


class LedgerError(Exception):
    """The ledger did not answer, or refused."""


@contextmanager
def _wrapped() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise LedgerError(f"ledger: {type(error).__name__}: {error}") from error


class Ledger:
    """A connection to the ledger. Every method raises LedgerError when Redis fails."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis: Any = client
        self._request_drain = client.register_script(_REQUEST_DRAIN)
        self._take_lease = client.register_script(_TAKE_LEASE)
        self._drop_lease = client.register_script(_DROP_LEASE)
        self._put_order = client.register_script(_PUT_ORDER)
        self._claim = client.register_script(_CLAIM)
        self._renew = client.register_script(_RENEW)
        self._release = client.register_script(_RELEASE)
        self._count = client.register_script(_COUNT)

    @classmethod
    def connect(cls, url: str, *, timeout_s: float = 2.0, **options: Any) -> Ledger:
        """A ledger at `url`; connects lazily and again after an outage."""
        return cls(
            redis.Redis.from_url(
                url,
                decode_responses=True,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                health_check_interval=15,
                **options,
            )
        )

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()

    def now(self) -> datetime:
        """The ledger's clock, which every record is stamped by."""
        with _wrapped():
            seconds, micros = self._redis.time()
        return datetime.fromtimestamp(seconds + micros / 1e6, UTC)

    # The fleet

    def put_worker(self, record: WorkerRecord) -> WorkerRecord:
        """Write `record` with `last_seen` set to the ledger's now; returns what was written."""
        stamped = record.model_copy(update={"last_seen": self.now()})
        with _wrapped():
            self._redis.hset(WORKERS, stamped.id, stamped.model_dump_json())
        return stamped

    def remove_worker(self, worker_id: str) -> None:
        """Forget a worker that has left, and any drain request to it."""
        with _wrapped():
            pipe = self._redis.pipeline()
            pipe.hdel(WORKERS, worker_id)
            pipe.delete(_drain_key(worker_id))
            pipe.execute()

    def workers(self) -> list[WorkerRecord]:
        """Every readable record; foreign or damaged entries of the hash are passed over."""
        with _wrapped():
            entries = self._redis.hvals(WORKERS)
        return [record for entry in entries if (record := _parse_worker(entry)) is not None]

    def prune(self, older_than_s: float) -> int:
        """Forget workers not seen for that long (they died without leaving); how many."""
        now = self.now()
        gone = [w.id for w in self.workers() if (now - w.last_seen).total_seconds() > older_than_s]
        if gone:
            with _wrapped():
                self._redis.hdel(WORKERS, *gone)
        return len(gone)

    # Drain requests

    def request_drain(
        self, worker_id: str, reason: str, *, ttl_s: int = 60, lease: tuple[str, int] | None = None
    ) -> bool:
        """Ask an idle worker to leave; False when it is not idle or not known any more.

        With `lease` (name and token) also False when somebody else holds that by now.
        """
        name, token = lease or ("", "")
        content = json.dumps({"reason": reason, "at": self.now().isoformat()})
        with _wrapped():
            return bool(
                self._request_drain(
                    keys=[WORKERS, _drain_key(worker_id), _lease_key(name)],
                    args=[worker_id, content, ttl_s, token],
                )
            )

    def drain_request(self, worker_id: str) -> DrainRequest | None:
        """What was asked of this worker, if anything."""
        with _wrapped():
            content = self._redis.get(_drain_key(worker_id))
        if content is None:
            return None
        fields = json.loads(content)
        return DrainRequest(worker_id, fields["reason"], datetime.fromisoformat(fields["at"]))

    def withdraw_drain(self, worker_id: str) -> None:
        """Take a drain request back."""
        with _wrapped():
            self._redis.delete(_drain_key(worker_id))

    # Who acts

    def take_lease(self, name: str, holder: str, *, ttl_s: float) -> int | None:
        """Take or renew the lease; its token, higher for each new holder, or None when somebody
        else has it."""
        with _wrapped():
            token = self._take_lease(
                keys=[_lease_key(name), _TOKEN], args=[holder, round(ttl_s * 1000)]
            )
        return int(token) or None

    def drop_lease(self, name: str, holder: str) -> None:
        """Give the lease back, if it is still ours."""
        with _wrapped():
            self._drop_lease(keys=[_lease_key(name)], args=[holder])

    # What people ordered

    def put_order(self, target: str, at: float, content: Mapping[str, Any]) -> bool:
        """Keep an order given at `at` (epoch seconds) unless a later one is kept already."""
        text = json.dumps({**content, "at": at})
        with _wrapped():
            return bool(self._put_order(keys=[_ORDERS], args=[target, text, repr(at)]))

    def orders(self) -> dict[str, str]:
        """The newest order by target, as JSON."""
        with _wrapped():
            return dict(self._redis.hgetall(_ORDERS))

    # Jobs

    def put_status(self, status: JobStatus) -> None:
        """Write a job's status where RabbitReels' API reads it."""
        with _wrapped():
            self._redis.set(status.job_id, status.model_dump_json())

    def status(self, job_id: str) -> JobStatus | None:
        """A job's status, or None when there is none or it is not ours."""
        with _wrapped():
            content = self._redis.get(job_id)
        try:
            return None if content is None else JobStatus.model_validate_json(content)
        except ValidationError:
            return None

    def claim(self, job_id: str, worker_id: str, *, ttl_s: int) -> Claim:
        """Take the job, also from whoever held it: the newest delivery is the true one."""
        with _wrapped():
            token = self._claim(keys=[_claim_key(job_id), _TOKEN], args=[worker_id, ttl_s])
        return Claim(job_id, worker_id, int(token))

    def holder(self, job_id: str) -> Claim | None:
        """Who has the job at present, if anybody."""
        with _wrapped():
            fields = self._redis.hgetall(_claim_key(job_id))
        if not fields:
            return None
        return Claim(job_id, fields["worker"], int(fields["token"]))

    def at_work(self, job_id: str) -> Claim | None:
        """Who has the job and works on it, by its own record: a dead one has it in name only."""
        claim = self.holder(job_id)
        if claim is None:
            return None
        record = self.worker(claim.worker_id)
        return claim if record is not None and record.job_id == job_id else None

    def worker(self, worker_id: str) -> WorkerRecord | None:
        """One worker's record, or None when there is none that can be read."""
        with _wrapped():
            entry = self._redis.hget(WORKERS, worker_id)
        return None if entry is None else _parse_worker(entry)

    def renew(self, claim: Claim, *, ttl_s: int) -> bool:
        """Keep the claim alive; False when a later delivery has taken the job."""
        with _wrapped():
            return bool(self._renew(keys=[_claim_key(claim.job_id)], args=[claim.token, ttl_s]))

    def release(self, claim: Claim) -> bool:
        """Give the claim up; False when it was no longer ours."""
        with _wrapped():
            return bool(self._release(keys=[_claim_key(claim.job_id)], args=[claim.token]))

    def mark_announced(self, order: str) -> bool:
        """Note that this order's result is announced; False when that was noted before.

        An order is the job id, followed by the message id where the publisher gave one.
        """
        with _wrapped():
            return bool(self._redis.set(_announced_key(order), 1, nx=True, ex=ANNOUNCED_TTL_S))

    def announced(self, order: str) -> bool:
        """Whether this order's result is known to have been announced."""
        with _wrapped():
            return bool(self._redis.exists(_announced_key(order)))

    # Counters. An event id is counted once, however often it is reported.

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
        """An attempt has ended; `duration_s` for one that made the video."""
        steps: dict[str, float] = {f"outcome:{outcome}": 1}
        if duration_s is not None:
            steps |= _observation("duration", DURATION_BUCKETS, duration_s)
        return self._add(queue, event_id, steps)

    def count_startup(self, queue: str, event_id: str, seconds: float) -> bool:
        """A worker has begun to consume that many seconds after its start."""
        return self._add(queue, event_id, _observation("startup", STARTUP_BUCKETS, seconds))

    def counters(self) -> list[QueueCounters]:
        """The totals of every queue that has any, by queue name."""
        with _wrapped():
            queues = sorted(self._redis.smembers(_QUEUES))
            pipe = self._redis.pipeline(transaction=False)
            for queue in queues:
                pipe.hgetall(f"{_PREFIX}counters:{queue}")
            contents = pipe.execute()
        return [_counters(queue, fields) for queue, fields in zip(queues, contents, strict=True)]

    def _add(self, queue: str, event_id: str, steps: Mapping[str, float]) -> bool:
        keys = [f"{_PREFIX}event:{event_id}", _QUEUES, f"{_PREFIX}counters:{queue}"]
        args: list[Any] = [EVENT_TTL_S, queue]
        for name, step in steps.items():
            args += [name, step]
        with _wrapped():
            return bool(self._count(keys=keys, args=args))


def _drain_key(worker_id: str) -> str:
    return f"{_PREFIX}drain:{worker_id}"


def _lease_key(name: str) -> str:
    return f"{_PREFIX}lease:{name}"


def _claim_key(job_id: str) -> str:
    return f"{_PREFIX}claim:{job_id}"


def _announced_key(order: str) -> str:
    return f"{_PREFIX}announced:{order}"


def _parse_worker(entry: str) -> WorkerRecord | None:
    try:
        return WorkerRecord.model_validate_json(entry)
    except ValidationError:
        return None


def _observation(name: str, bounds: Sequence[float], value: float) -> dict[str, float]:
    bound = next((str(bound) for bound in bounds if value <= bound), "+Inf")
    return {f"{name}:le:{bound}": 1, f"{name}:sum": value}


def _counters(queue: str, fields: Mapping[str, str]) -> QueueCounters:
    def total(name: str) -> int:
        return round(float(fields.get(name, 0)))

    return QueueCounters(
        queue=queue,
        started=total("started"),
        outcomes={outcome: total(f"outcome:{outcome}") for outcome in Outcome},
        redelivered=total("redelivered"),
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
