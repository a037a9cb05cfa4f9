"""Job claims: who works on a job, what has been published for it, and who never came to an end."""

from __future__ import annotations

from common.ledger.store import PREFIX, TOKEN
from common.ledger.worker_records import WorkerRecords
from common.records import Claim, WorkerRecord

_HANDLING_TTL_S = 86_400
# A worker with a job writes its record every other second, any other one every ten unless it is set
# to another heartbeat: one that is slower than this counts as gone while it is idle.
_ALIVE_S = 20.0
# Before the id of a worker; no worker's begins with it.
_BROKEN = "!"
_CLAIM = """
local token = redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[1], 'worker', ARGV[1], 'token', token)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return token
"""
_ONLY_IF_MINE = "if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end\n"
_RENEW = _ONLY_IF_MINE + "redis.call('EXPIRE', KEYS[1], ARGV[2]) return 1"
_RELEASE = _ONLY_IF_MINE + "redis.call('DEL', KEYS[1]) return 1"


class JobClaims(WorkerRecords):
    """The claim to each job; whether its holder is at work is in the holder's record."""

    def claim(self, job_id: str, worker_id: str, *, ttl_s: int) -> Claim:
        """Take the job, also from another holder: the newest delivery counts."""
        token = self._run(_CLAIM, [_claim_key(job_id), TOKEN], [worker_id, ttl_s])
        return Claim(job_id, worker_id, int(token))

    def holder(self, job_id: str) -> Claim | None:
        """Who has the job at present, if anybody, and if that can be read."""
        with self._asking():
            fields = self._redis.hgetall(_claim_key(job_id))
        try:
            return Claim(job_id, fields["worker"], int(fields["token"]))
        except (KeyError, ValueError):
            return None

    def at_work(self, job_id: str) -> Claim | None:
        """Who has the job and works on it, by its own record: a dead one has it in name only."""
        claim = self.holder(job_id)
        if claim is None:
            return None
        record = self.worker(claim.worker_id)
        return claim if record is not None and record.job_id == job_id else None

    def renew(self, claim: Claim, *, ttl_s: int) -> bool:
        """Keep the claim alive; False when a later delivery has taken the job."""
        return bool(self._run(_RENEW, [_claim_key(claim.job_id)], [claim.token, ttl_s]))

    def release(self, claim: Claim) -> bool:
        """Give the claim up; False when it was no longer ours."""
        return bool(self._run(_RELEASE, [_claim_key(claim.job_id)], [claim.token]))

    def mark_settled(self, step: str, outcome: str, *, ttl_s: int) -> None:
        """Note that the outcome of this step has been published, and that its queue has it."""
        with self._asking():
            self._redis.set(_settled_key(step), outcome, ex=ttl_s)

    def settled(self, step: str) -> str | None:
        """The outcome of this step that is known to have been published, if any is."""
        with self._asking():
            outcome: str | None = self._redis.get(_settled_key(step))
        return outcome

    def forget_settled(self, step: str) -> None:
        """The step's message is gone from the broker; another one may have the same name."""
        with self._asking():
            self._redis.delete(_settled_key(step))

    def begin_handling(self, fingerprint: str, record: WorkerRecord) -> int:
        """The worker of this record begins with a message; how many began with it before and never
        came to an end: they are dead, or have said that it broke what they did.

        Who is alive and has said nothing is at it still, or has come to an end that the ledger does
        not know of, or no longer: one that is brought back older has forgotten it.
        """
        key = _handling_key(fingerprint)
        with self._asking():
            pipe = self._redis.pipeline()
            pipe.hgetall(key)
            pipe.hset(key, record.instance, record.id)
            pipe.expire(key, _HANDLING_TTL_S)
            begun: dict[str, str] = pipe.execute()[0]
        begun.pop(record.instance, None)
        return sum(
            worker_id.startswith(_BROKEN) or not self._is_alive(worker_id, instance)
            for instance, worker_id in begun.items()
        )

    def break_handling(self, fingerprint: str, record: WorkerRecord) -> None:
        """The message itself broke off what the worker of this record did with it."""
        key = _handling_key(fingerprint)
        with self._asking():
            pipe = self._redis.pipeline()
            pipe.hset(key, record.instance, f"{_BROKEN}{record.id}")
            pipe.expire(key, _HANDLING_TTL_S)
            pipe.execute()

    def end_handling(self, fingerprint: str, instance: str) -> None:
        """One that began has come to an end, whatever that was."""
        with self._asking():
            self._redis.hdel(_handling_key(fingerprint), instance)

    def _is_alive(self, worker_id: str, instance: str) -> bool:
        record = self.worker(worker_id)
        if record is None or record.instance != instance:
            return False
        return (self.now() - record.last_seen).total_seconds() < _ALIVE_S


def _claim_key(job_id: str) -> str:
    return f"{PREFIX}claim:{job_id}"


def _settled_key(step: str) -> str:
    return f"{PREFIX}settled:{step}"


def _handling_key(fingerprint: str) -> str:
    return f"{PREFIX}handling:{fingerprint}"
