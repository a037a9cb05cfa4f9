"""Connections to Redis on which every answer ends: in time as a whole, and at a size.

redis-py's own limit begins anew with each byte, and there is none for the size.
"""

from __future__ import annotations

import socket
import time
from typing import Any

import redis

MAX_ANSWER_BYTES = 64 * 1024 * 1024


class _BoundedSocket:
    """A socket that is given its time-out for an answer, and no more, from the question on."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._until = float("inf")
        self._left_bytes = MAX_ANSWER_BYTES

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def sendall(self, data: bytes) -> None:
        """Ask; the time begins."""
        self._until = time.monotonic() + (self._socket.gettimeout() or float("inf"))
        self._left_bytes = MAX_ANSWER_BYTES
        self._socket.sendall(data)

    def recv(self, size: int) -> bytes:
        """What there is of the answer."""
        allowed_s = self._shorten()
        try:
            data = self._socket.recv(size)
        finally:
            self._socket.settimeout(allowed_s)
        self._count(len(data))
        return data

    def recv_into(self, buffer: Any) -> int:
        """The same, where the faster parser is installed."""
        allowed_s = self._shorten()
        try:
            size = self._socket.recv_into(buffer)
        finally:
            self._socket.settimeout(allowed_s)
        self._count(size)
        return size

    def _shorten(self) -> float | None:
        """Let the next read wait no longer than what is left; returns what was allowed before."""
        allowed_s = self._socket.gettimeout()
        if allowed_s:  # neither without limit nor a look at what is there
            left_s = self._until - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("the time for an answer is up")
            self._socket.settimeout(min(allowed_s, left_s))
        return allowed_s

    def _count(self, size: int) -> None:
        self._left_bytes -= size
        if self._left_bytes < 0:
            raise ConnectionError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")


class _PlainConnection(redis.Connection):
    def _connect(self) -> Any:
        connected: socket.socket = super()._connect()  # type: ignore[no-untyped-call] # theirs
        return _BoundedSocket(connected)


class _TlsConnection(redis.SSLConnection):
    def _connect(self) -> Any:
        connected: socket.socket = super()._connect()  # type: ignore[no-untyped-call] # theirs
        return _BoundedSocket(connected)


def bound(client: redis.Redis) -> redis.Redis:
    """`client`, with such connections."""
    pool: Any = client.connection_pool
    by_tls = issubclass(pool.connection_class, redis.SSLConnection)
    pool.connection_class = _TlsConnection if by_tls else _PlainConnection
    return client
