"""One fleet for each queue's name: the ledger's records, totals and metrics go by that name."""

from __future__ import annotations

from common.ledger.queue_totals import QUEUES, TOTALS_TTL_S, counters_key
from common.ledger.store import PREFIX, Store

HOLDER_TTL_S = 86_400
"""A fleet may be at zero for that long before one of another virtual host can take its place."""
# Totals of an earlier fleet, in another virtual host, are none of the new one's.
_REGISTER = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[2] then return holder end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
local counted = redis.call('HGET', KEYS[2], 'vhost')
if counted ~= ARGV[2] then
    if counted then redis.call('DEL', KEYS[2]) end
    redis.call('HSET', KEYS[2], 'vhost', ARGV[2])
    redis.call('SADD', KEYS[3], ARGV[1])
end
redis.call('EXPIRE', KEYS[2], ARGV[4])
return false
"""


class QueueHolders(Store):
    """In which virtual host the fleet of a queue works. Two fleets of one name are refused."""

    def register_queue(self, queue: str, vhost: str, *, ttl_s: int = HOLDER_TTL_S) -> str | None:
        """Hold `queue` for the fleet in `vhost`, and again at every heartbeat.

        None when it is ours; otherwise the virtual host whose fleet has a queue of that name. The
        hold lapses `ttl_s` seconds after it was last asked for.
        """
        keys = [holder_key(queue), counters_key(queue), QUEUES]
        holder: str | None = self._run(_REGISTER, keys, [queue, vhost, ttl_s, TOTALS_TTL_S])
        return holder


def holder_key(queue: str) -> str:
    """The key of the virtual host that holds this queue's name."""
    return f"{PREFIX}holder:{queue}"
