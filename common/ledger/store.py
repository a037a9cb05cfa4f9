"""The connection to Redis that every part of the ledger shares."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Self

import redis

from common.errors import HIDDEN, ConfigError
from common.ledger.bounded_connection import bound
from common.ledger.settings import LedgerSettings
from common.urls import LEDGER

PREFIX = "autoscaler:"
TOKEN = f"{PREFIX}token"
_LOOK_S = 0.5
_PUT_UNLESS = """
local there = redis.call('GET', KEYS[1])
local read, found = pcall(cjson.decode, there or '')
if read and type(found) == 'table' then
  for each = 3, #ARGV do
    if found.status == ARGV[each] then return 0 end
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""


class LedgerError(Exception):
    """The ledger did not answer, or refused."""


class Rest:
    """After a time-out the ledger is left alone for a while, but for a look whether it is back.

    Without it, each of the hundred questions of a cycle would wait its two seconds for a Redis
    that hangs. A refusal costs no time, so nothing rests after one.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until = float("-inf")
        self._reason = ""

    @property
    def reason(self) -> str | None:
        """Why not to ask now; None when nothing speaks against it."""
        return self._reason if self._clock() < self._until else None

    def begin(self, reason: str) -> None:
        """There was no answer in time."""
        self._reason, self._until = reason, self._clock() + self._seconds

    def end(self) -> None:
        """There was an answer."""
        self._until = float("-inf")


def damaged(text: str) -> bool:
    """Whether `text`, as read from the ledger, has bytes in it that are no UTF-8."""
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def readable(text: str) -> str:
    """`text` with what is no text in it replaced, so that it can be written anywhere."""
    return text.encode("utf-8", "replace").decode()


class Store:
    """A connection, its clock, and texts under keys of the caller's own."""

    def __init__(
        self, client: redis.Redis, rest: Rest | None = None, scout: redis.Redis | None = None
    ) -> None:
        self._redis: Any = client
        self._rest = rest or Rest(0.0)
        self._scout: Any = scout
        self._scripts: dict[str, Any] = {}

    @classmethod
    def connect(
        cls, url: str, *, timeout_s: float = 2.0, rest_s: float = 0.0, **options: Any
    ) -> Self:
        """A ledger at `url`; connects lazily and again after an outage.

        With `rest_s`, after an answer that did not come in `timeout_s` all further questions fail
        at once for so long, with the same reason; but `take_lease` still looks, for half a second,
        and once that is answered all are. Raises ConfigError for parameters in the URL that the
        client does not know.
        """
        client = _client(url, timeout_s, options)
        if not rest_s:
            return cls(client)
        return cls(client, Rest(rest_s), _client(url, min(timeout_s, _LOOK_S), options))

    @classmethod
    def of(cls, settings: LedgerSettings, *, timeout_s: float = 2.0, rest_s: float = 0.0) -> Self:
        """The ledger that the settings name; see `connect`. Raises ConfigError."""
        url, options = settings.redis_url.get_secret_value(), settings.for_redis()
        return cls.connect(url, timeout_s=timeout_s, rest_s=rest_s, **options)

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()
        if self._scout is not None:
            self._scout.close()

    def now(self) -> datetime:
        """The ledger's clock, which every record is stamped by."""
        with self._asking():
            seconds, micros = self._redis.time()
        return datetime.fromtimestamp(seconds + micros / 1e6, UTC)

    def put_text(self, key: str, text: str, ttl_s: int | None = None) -> None:
        """Keep a text under a key that is none of the ledger's own, for `ttl_s` seconds."""
        with self._asking():
            self._redis.set(key, text, ex=ttl_s)

    def put_text_unless(self, key: str, text: str, ttl_s: int, ended: Sequence[str]) -> bool:
        """The same, unless the text there is a JSON object whose `status` is one of `ended`."""
        return bool(self._run(_PUT_UNLESS, [key], [text, ttl_s, *ended]))

    def text(self, key: str) -> str | None:
        """The text under that key, if there is one that can be read."""
        with self._asking():
            found: str | None = self._redis.get(key)
        return None if found is None or damaged(found) else found

    def _run(
        self, script: str, keys: Sequence[str], args: Sequence[Any], *, looks: bool = False
    ) -> Any:
        """What a Lua script returns, which Redis runs as one step; `looks` whether it may be asked
        also while the ledger is left alone."""
        if script not in self._scripts:
            self._scripts[script] = self._redis.register_script(script)
        client = self._scout if looks and self._rest.reason else None
        with self._asking(looks):
            return self._scripts[script](keys=keys, args=args, client=client)

    @contextmanager
    def _asking(self, looks: bool = False) -> Iterator[None]:
        """Turn what Redis raises, and whatever can't be read of its answer, into LedgerError."""
        if not looks and self._rest.reason is not None:
            raise LedgerError(self._rest.reason)
        try:
            yield
        except (redis.RedisError, ValueError) as error:
            text = f"ledger: {readable(f'{type(error).__name__}: {error}')}"
            if isinstance(error, redis.TimeoutError):
                self._rest.begin(text)
            raise LedgerError(text) from error
        self._rest.end()


def _client(url: str, timeout_s: float, options: dict[str, Any]) -> redis.Redis:
    try:
        client = redis.Redis.from_url(
            url,
            decode_responses=True,
            # Bytes that are no text neither end a read nor change when they are sent back.
            encoding_errors="surrogateescape",
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            health_check_interval=15,
            **options,
        )
        # As the first command will; only then would the client look at the parameters.
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
    except (TypeError, ValueError, redis.RedisError):
        known = "after a ? parameters that redis-py knows, such as ssl_ca_certs=/path"
        raise ConfigError("REDIS_URL", HIDDEN, f"{LEDGER.allowed}; {known}") from None
    return bound(client)
