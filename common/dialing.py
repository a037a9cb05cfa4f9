"""Connections that end by a deadline, whatever the other side does, or does not."""

from __future__ import annotations

import io
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from http.client import HTTPConnection
from ipaddress import ip_address
from typing import Any, cast

from common.outgoing import Proxy

_BUFFER = 65_536

Addresses = list[tuple[Any, ...]]
_lookups: dict[tuple[str, int], Future[Addresses]] = {}
_lookups_lock = threading.Lock()


class ProxyRefusedError(OSError):
    """The proxy lets nothing through to that address."""


class Deadline:
    """A moment by which all is to be done."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then. Raises TimeoutError when there are none."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is up")
        return left


class TimedSocket:
    """A connected socket that reads and writes until a deadline, however little comes at a time.

    A socket's own timeout begins anew with each byte.
    """

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket = connected
        self.deadline = deadline
        self.left_over = False
        """Whether more had come than what was read as an answer."""

    def sendall(self, data: bytes) -> None:
        """Write all of it."""
        self._socket.settimeout(self.deadline.left())
        self._socket.sendall(data)

    def receive_into(self, buffer: Any) -> int:
        """Read what there is, at least a byte unless it is the end."""
        self._socket.settimeout(self.deadline.left())
        return self._socket.recv_into(buffer)

    def makefile(self, *_: Any) -> io.BufferedReader:
        """What `http.client` reads an answer from."""
        return _Answer(self)

    def close(self) -> None:
        """Does nothing: `http.client` closes before the body has been read. See `end`."""

    def end(self) -> None:
        """Give the connection up."""
        self._socket.close()

    @property
    def quiet(self) -> bool:
        """Whether nothing has come since: neither bytes that nobody asked for, nor the end."""
        if self.left_over:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def to_tls(self, context: ssl.SSLContext, host: str) -> TimedSocket:
        """The same connection by TLS."""
        self._socket.settimeout(self.deadline.left())
        return TimedSocket(context.wrap_socket(self._socket, server_hostname=host), self.deadline)


class _Incoming(io.RawIOBase):
    def __init__(self, source: TimedSocket) -> None:
        self._source = source
        self.over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return 0 if self.over else self._source.receive_into(buffer)


class _Answer(io.BufferedReader):
    """Reads ahead; what it has read in vain shows when it is closed."""

    def __init__(self, source: TimedSocket) -> None:
        self._incoming = _Incoming(source)
        self._source = source
        super().__init__(self._incoming, _BUFFER)

    def close(self) -> None:
        if not self.closed:
            self._incoming.over = True
            self._source.left_over = bool(self.peek(1))
        super().close()


def dial(
    host: str,
    port: int,
    deadline: Deadline,
    *,
    context: ssl.SSLContext | None,
    proxy: Proxy | None,
) -> TimedSocket:
    """A connection, by TLS where there is a context. Raises OSError, TimeoutError among them."""
    first = (host, port) if proxy is None else (proxy.host, proxy.port)
    connection = TimedSocket(_connect(*first, deadline), deadline)
    try:
        if context is None:
            return connection
        if proxy is not None:
            _tunnel(connection, host, port, proxy)
        return connection.to_tls(context, host)
    except BaseException:
        connection.end()
        raise


def http_over(connection: TimedSocket, host: str, port: int) -> HTTPConnection:
    """HTTP as it is spoken over a connection that stands."""
    spoken = HTTPConnection(host, port)
    spoken.sock = cast(socket.socket, connection)
    return spoken


def _connect(host: str, port: int, deadline: Deadline) -> socket.socket:
    addresses = _resolve(host, port, deadline)
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        connecting = socket.socket(family, kind, protocol)
        try:
            connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # One that swallows everything leaves the others their share of the time.
            connecting.settimeout(deadline.left() / (len(addresses) - number))
            connecting.connect(address)
        except BaseException as error:
            connecting.close()
            if not isinstance(error, OSError) or number + 1 == len(addresses):
                raise
        else:
            return connecting
    raise OSError("its name has no address")


def _resolve(host: str, port: int, deadline: Deadline) -> Addresses:
    """The addresses of a name. The system's own look-up knows no deadline, so it is made on a
    thread of its own: one for all who wait for the same name."""
    try:
        ip_address(host)
    except ValueError:
        pass
    else:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    key = (host, port)
    with _lookups_lock:
        future = _lookups.get(key)
        if future is None:
            future = _lookups[key] = Future()
            threading.Thread(target=_look_up, args=(key, future), daemon=True).start()
    return future.result(deadline.left())


def _look_up(key: tuple[str, int], future: Future[Addresses]) -> None:
    try:
        future.set_result(socket.getaddrinfo(*key, type=socket.SOCK_STREAM))
    except UnicodeError:
        future.set_exception(OSError("its name is none"))
    except BaseException as error:
        future.set_exception(error)
    finally:
        with _lookups_lock:
            del _lookups[key]


def _tunnel(connection: TimedSocket, host: str, port: int, proxy: Proxy) -> None:
    """Have the proxy connect to there."""
    headers: Mapping[str, str] = (
        {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
    )
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    spoken = http_over(connection, host, port)
    spoken.putrequest("CONNECT", place, skip_host=True, skip_accept_encoding=True)
    for name, value in {"Host": place, **headers}.items():
        spoken.putheader(name, value)
    spoken.endheaders()
    status = spoken.getresponse().status
    if status != 200:
        raise ProxyRefusedError(f"its proxy answers HTTP {status}")
