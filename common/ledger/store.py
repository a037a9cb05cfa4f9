"""The connection to Redis that every part of the ledger shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Self

import redis

PREFIX = "autoscaler:"
TOKEN = f"{PREFIX}token"


class LedgerError(Exception):
    """The ledger did not answer, or refused."""


@contextmanager
def wrapped() -> Iterator[None]:
    """Turn what Redis raises into LedgerError."""
    try:
        yield
    except redis.RedisError as error:
        raise LedgerError(f"ledger: {type(error).__name__}: {error}") from error


class Store:
    """A connection, its clock, and texts under keys of the caller's own."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis: Any = client
        self._scripts: dict[str, Any] = {}

    @classmethod
    def connect(cls, url: str, *, timeout_s: float = 2.0, **options: Any) -> Self:
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
        with wrapped():
            seconds, micros = self._redis.time()
        return datetime.fromtimestamp(seconds + micros / 1e6, UTC)

    def put_text(self, key: str, text: str) -> None:
        """Keep a text under a key that is none of the ledger's own."""
        with wrapped():
            self._redis.set(key, text)

    def text(self, key: str) -> str | None:
        """The text under that key, if there is one."""
        with wrapped():
            found: str | None = self._redis.get(key)
        return found

    def _run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """What a Lua script returns, which Redis runs as one step."""
        if script not in self._scripts:
            self._scripts[script] = self._redis.register_script(script)
        with wrapped():
            return self._scripts[script](keys=keys, args=args)
