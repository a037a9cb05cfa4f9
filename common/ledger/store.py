"""The connection to Redis that every part of the ledger shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Self

import redis

from common.errors import HIDDEN, ConfigError
from common.urls import LEDGER

PREFIX = "autoscaler:"
TOKEN = f"{PREFIX}token"


class LedgerError(Exception):
    """The ledger did not answer, or refused."""


@contextmanager
def wrapped() -> Iterator[None]:
    """Turn what Redis raises, and whatever can't be read of its answer, into LedgerError."""
    try:
        yield
    except (redis.RedisError, ValueError) as error:
        text = readable(f"{type(error).__name__}: {error}")
        raise LedgerError(f"ledger: {text}") from error


def damaged(text: str) -> bool:
    """Whether `text`, as read from the ledger, has bytes in it that are no UTF-8."""
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def readable(text: str) -> str:
    """`text` with what is no text in it replaced, so that it can be written anywhere."""
    return text.encode("utf-8", "replace").decode()


class Store:
    """A connection, its clock, and texts under keys of the caller's own."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis: Any = client
        self._scripts: dict[str, Any] = {}

    @classmethod
    def connect(cls, url: str, *, timeout_s: float = 2.0, **options: Any) -> Self:
        """A ledger at `url`; connects lazily and again after an outage. Raises ConfigError for
        parameters in the URL that the client does not know."""
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
        return cls(client)

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()

    def now(self) -> datetime:
        """The ledger's clock, which every record is stamped by."""
        with wrapped():
            seconds, micros = self._redis.time()
        return datetime.fromtimestamp(seconds + micros / 1e6, UTC)

    def put_text(self, key: str, text: str, ttl_s: int | None = None) -> None:
        """Keep a text under a key that is none of the ledger's own, for `ttl_s` seconds."""
        with wrapped():
            self._redis.set(key, text, ex=ttl_s)

    def text(self, key: str) -> str | None:
        """The text under that key, if there is one that can be read."""
        with wrapped():
            found: str | None = self._redis.get(key)
        return None if found is None or damaged(found) else found

    def _run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """What a Lua script returns, which Redis runs as one step."""
        if script not in self._scripts:
            self._scripts[script] = self._redis.register_script(script)
        with wrapped():
            return self._scripts[script](keys=keys, args=args)
