"""Job claims: who works on a job, what has been published for it, and who never came to an end."""

from __future__ import annotations

from common.ledger.store import PREFIX, TOKEN
from common.ledger.worker_records import WorkerRecords
from common.records import Claim, WorkerRecord

_HANDLING_TTL_S = 86_400
# A worker with a job writes its record every other second.
_ALIVE_S = 20.0
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

    def begin_handling(self, fingerprint: str, record: WorkerRecord, job_id: str | None) -> int:
        """The worker of this record begins with a message; how many began with it before, never
        came to an end, and are not at it still: alive, with that job in hand."""
        key = _handling_key(fingerprint)
        with self._asking():
            pipe = self._redis.pipeline()
            pipe.hgetall(key)
            pipe.hset(key, record.instance, record.id)
            pipe.expire(key, _HANDLING_TTL_S)
            begun: dict[str, str] = pipe.execute()[0]
        begun.pop(record.instance, None)
        return sum(not self._has_in_hand(begun[each], each, job_id) for each in begun)

    def end_handling(self, fingerprint: str, instance: str) -> None:
        """One that began has come to an end, whatever that was."""
        with self._asking():
            self._redis.hdel(_handling_key(fingerprint), instance)

    def _has_in_hand(self, worker_id: str, instance: str, job_id: str | None) -> bool:
        record = self.worker(worker_id)
        if job_id is None or record is None or record.instance != instance:
            return False
        age_s = (self.now() - record.last_seen).total_seconds()
        return record.job_id == job_id and age_s < _ALIVE_S


def _claim_key(job_id: str) -> str:
    return f"{PREFIX}claim:{job_id}"


def _settled_key(step: str) -> str:
    return f"{PREFIX}settled:{step}"


def _handling_key(fingerprint: str) -> str:
    return f"{PREFIX}handling:{fingerprint}"
