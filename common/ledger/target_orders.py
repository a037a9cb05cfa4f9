"""Orders: what people told the scaler to do with its targets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from common.ledger.store import PREFIX, Store, wrapped

_ORDERS = f"{PREFIX}orders"
_PUT = """
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if kept and cjson.decode(kept)['at'] >= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""


class TargetOrders(Store):
    """The newest order for each target."""

    def put_order(self, target: str, at: float, content: Mapping[str, Any]) -> bool:
        """Keep an order given at `at` (epoch seconds) unless a later one is kept already."""
        text = json.dumps({**content, "at": at})
        return bool(self._run(_PUT, [_ORDERS], [target, text, repr(at)]))

    def orders(self) -> dict[str, str]:
        """The newest order by target, as JSON."""
        with wrapped():
            return dict(self._redis.hgetall(_ORDERS))
