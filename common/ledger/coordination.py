"""What several scalers share: who of them acts, and what people ordered."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

from common.ledger.store import PREFIX, TOKEN, Store, damaged

_ORDERS = f"{PREFIX}orders"
# What is there and is no lease, is nobody's. A lease that would outlive its time is cut to that:
# the ledger's clock has been set back, or what ends it was lost.
_TAKE_LEASE = """
local kind = redis.call('TYPE', KEYS[1])['ok']
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local left = redis.call('PTTL', KEYS[1])
if left == -1 or left > tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
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
local readable, order = pcall(cjson.decode, kept)
local at = readable and type(order) == 'table' and tonumber(order['at'])
if at and at >= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""
# Only what is still as it was read.
_FORGET_ORDER = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
"""


class Coordination(Store):
    """Leases by name, and the newest order for each target."""

    def take_lease(self, name: str, holder: str, *, ttl_s: float) -> int | None:
        """Take or renew the lease; its token, higher for each new holder, or None when somebody
        else has it. Looks at a ledger that is left alone, too, see `connect`."""
        args = [holder, round(ttl_s * 1000)]
        token = self._run(_TAKE_LEASE, [lease_key(name), TOKEN], args, looks=True)
        # None where what is kept there is no number: nobody's until it expires.
        return int(token or 0) or None

    def drop_lease(self, name: str, holder: str) -> None:
        """Give the lease back, if it is still ours."""
        self._run(_DROP_LEASE, [lease_key(name)], [holder])

    def put_order(self, target: str, at: float, content: Mapping[str, Any]) -> bool:
        """Keep an order given at `at` (epoch seconds) unless a later one is kept already."""
        text = json.dumps({**content, "at": at})
        return bool(self._run(_PUT_ORDER, [_ORDERS], [target, text, repr(at)]))

    def orders(self) -> dict[str, str]:
        """The newest order by target, as JSON."""
        with self._asking():
            kept: dict[str, str] = self._redis.hgetall(_ORDERS)
        return {target: text for target, text in kept.items() if not damaged(target)}

    def prune_orders(self, targets: Collection[str], older_than_s: float) -> int:
        """Forget the orders for targets that are none of `targets`, given longer ago than that;
        how many. One that can't be read is of no target."""
        with self._asking():
            kept: dict[str, str] = self._redis.hgetall(_ORDERS)
        since = self.now().timestamp() - older_than_s
        gone = [
            (target, text)
            for target, text in kept.items()
            if target not in targets and not _given_at(text) > since
        ]
        return sum(int(self._run(_FORGET_ORDER, [_ORDERS], each)) for each in gone)


def _given_at(text: str) -> float:
    try:
        return float(json.loads(text)["at"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return -math.inf


def lease_key(name: str) -> str:
    """The key of the lease of this name."""
    return f"{PREFIX}lease:{name}"
