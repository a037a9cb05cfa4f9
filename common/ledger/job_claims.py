"""Job claims: who works on a job, and whether its result has been announced."""

from __future__ import annotations

from common.ledger.store import PREFIX, TOKEN, wrapped
from common.ledger.worker_records import WorkerRecords
from common.records import Claim

ANNOUNCED_TTL_S = 7 * 86_400
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
        """Who has the job at present, if anybody."""
        with wrapped():
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

    def renew(self, claim: Claim, *, ttl_s: int) -> bool:
        """Keep the claim alive; False when a later delivery has taken the job."""
        return bool(self._run(_RENEW, [_claim_key(claim.job_id)], [claim.token, ttl_s]))

    def release(self, claim: Claim) -> bool:
        """Give the claim up; False when it was no longer ours."""
        return bool(self._run(_RELEASE, [_claim_key(claim.job_id)], [claim.token]))

    def mark_announced(self, order: str) -> bool:
        """Note that this order's result is announced; False when that was noted before.

        An order is the job id, followed by the message id where the publisher gave one.
        """
        with wrapped():
            return bool(self._redis.set(_announced_key(order), 1, nx=True, ex=ANNOUNCED_TTL_S))

    def announced(self, order: str) -> bool:
        """Whether this order's result is known to have been announced."""
        with wrapped():
            return bool(self._redis.exists(_announced_key(order)))


def _claim_key(job_id: str) -> str:
    return f"{PREFIX}claim:{job_id}"


def _announced_key(order: str) -> str:
    return f"{PREFIX}announced:{order}"
