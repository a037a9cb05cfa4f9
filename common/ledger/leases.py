"""Leases: of several programs one acts."""

from __future__ import annotations

from common.ledger.store import PREFIX, TOKEN, Store

_TAKE = """
local holder = redis.call('HGET', KEYS[1], 'holder')
if not holder then
    redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'token', redis.call('INCR', KEYS[2]))
elseif holder ~= ARGV[1] then
    return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return tonumber(redis.call('HGET', KEYS[1], 'token'))
"""
_DROP = """
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class Leases(Store):
    """Who acts."""

    def take_lease(self, name: str, holder: str, *, ttl_s: float) -> int | None:
        """Take or renew the lease; its token, higher for each new holder, or None when somebody
        else has it."""
        token = self._run(_TAKE, [lease_key(name), TOKEN], [holder, round(ttl_s * 1000)])
        return int(token) or None

    def drop_lease(self, name: str, holder: str) -> None:
        """Give the lease back, if it is still ours."""
        self._run(_DROP, [lease_key(name)], [holder])


def lease_key(name: str) -> str:
    """Where the lease of this name is."""
    return f"{PREFIX}lease:{name}"
