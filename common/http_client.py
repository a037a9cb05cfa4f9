"""An HTTP client that always comes back: by its deadline, with no more than its limit, and from
where it was sent."""

from __future__ import annotations

import json
import ssl
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any, cast
from urllib.parse import urljoin

from common import urls
from common.dialing import Deadline, ProxyRefusedError, TimedSocket, dial, http_over
from common.errors import HIDDEN, ConfigError, cut, printable
from common.outgoing import NO_SETTINGS, ClientPolicy, basic

MAX_BYTES = 64 * 1024 * 1024
# Servers that close what is idle do so after five seconds and more.
_IDLE_S = 4.0
_CHUNK = 65_536
_GZIP = 31
_CLOSED = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError, IncompleteRead)


class OutgoingError(Exception):
    """No answer that can be used. The sentence says whose and why, without credentials."""


class SlowAnswerError(OutgoingError):
    """There was no whole answer in time."""


class UnreachableError(OutgoingError):
    """There was no connection."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What was answered, with any status but a redirect's."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    """Their names in any case."""

    def json(self) -> Any:
        """The JSON in it. Raises ValueError where it is none."""
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("nested too deeply") from None


@dataclass(frozen=True, slots=True)
class _Question:
    method: str
    path: str
    body: bytes | None
    headers: Mapping[str, str]
    repeatable: bool


class _StaleError(Exception):
    """A connection that had been used before was closed before any answer came."""


class HttpClient:
    """A client of one service. Safe in threads; connections are kept for the next request."""

    def __init__(
        self,
        name: str,
        url: str,
        policy: ClientPolicy = NO_SETTINGS,
        *,
        timeout_s: float = 10.0,
        max_bytes: int = MAX_BYTES,
        authorization: str | None = None,
        most_idle: int = 8,
    ) -> None:
        """`name` is what its sentences call the service; `authorization` holds where neither the
        URL nor the policy has any. Raises ConfigError where both have."""
        read = urls.read(url, urls.SERVICE)
        self.shown_url = urls.without_credentials(url)
        self._who = f"{name} at {self.shown_url}"
        self._tls = read.scheme == "https"
        self._host, self._port = read.host, read.port or (443 if self._tls else 80)
        self._path = read.path.rstrip("/")
        self._policy = policy
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._authorization = authorization
        if read.user is not None:
            self._authorization = basic(read.user, read.password or "")
            if _has_authorization(policy.headers):
                allowed = "credentials either in it or in other settings"
                raise ConfigError(f"{policy.prefix}_URL", HIDDEN, allowed)
        if policy.about_tls and not self._tls:
            allowed = f"https://, since there are files for TLS ({policy.prefix}_CA_FILE, …)"
            raise ConfigError(f"{policy.prefix}_URL", self.shown_url, allowed)
        self._most_idle = most_idle
        self._idle: list[tuple[TimedSocket, float]] = []
        self._lock = threading.Lock()

    def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        repeatable: bool | None = None,
    ) -> HttpAnswer:
        """The answer to a request for `path`, which is put behind the URL's own.

        It is there in `timeout_s` (default: the client's), connecting included. Where a connection
        that had been kept turns out to have been closed meanwhile, the request is made again on a
        new one if it is `repeatable` (default: all but POST). Raises OutgoingError.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        again = method != "POST" if repeatable is None else repeatable
        request = _Question(method, self._path + path, body, headers or {}, again)
        with self._sentences(limit_s):
            deadline = Deadline(limit_s)
            try:
                return self._once(request, deadline, self._kept(deadline))
            except _StaleError:
                return self._once(request, deadline, None)

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.end()

    def _once(self, request: _Question, deadline: Deadline, kept: TimedSocket | None) -> HttpAnswer:
        connection = kept or self._dialled(deadline)
        reusable = False
        try:
            try:
                response = self._sent(request, connection)
            except (*_CLOSED, ssl.SSLEOFError):
                if kept is not None and request.repeatable:
                    raise _StaleError from None
                raise
            self._refuse_redirect(response)
            body = self._body(response)
            reusable = not response.will_close
            return HttpAnswer(response.status, body, cast(Mapping[str, str], response.headers))
        finally:
            self._give_back(connection, reusable)

    def _sent(self, request: _Question, connection: TimedSocket) -> HTTPResponse:
        policy, path = self._policy, request.path
        headers = {
            "Accept-Encoding": "identity",
            "User-Agent": "autoscaler",
            **({"Authorization": self._authorization} if self._authorization else {}),
            **policy.headers,
            **request.headers,
        }
        proxy = policy.proxy
        if proxy is not None and not self._tls:
            host = f"[{self._host}]" if ":" in self._host else self._host
            path = f"http://{host}:{self._port}{path}"
            if proxy.authorization:
                headers["Proxy-Authorization"] = proxy.authorization
        spoken = http_over(connection, self._host, self._port)
        # So that a port of its own is not named where it goes without saying.
        spoken.default_port = 443 if self._tls else 80
        spoken.request(request.method, path or "/", request.body, headers)
        return spoken.getresponse()

    def _body(self, response: HTTPResponse) -> bytes:
        """The whole body, unpacked, and within the limit while it is being unpacked."""
        packed = response.getheader("Content-Encoding", "identity").strip().lower()
        if packed not in ("identity", "gzip", ""):
            raise OutgoingError(f"{self._who} answers packed, though it was asked not to")
        unpack = zlib.decompressobj(_GZIP) if packed == "gzip" else None
        parts, size = [], 0
        if unpack is None and (response.length or 0) > self._max_bytes:
            raise self._too_large()
        while part := response.read1(_CHUNK):
            if unpack is not None:
                part = unpack.decompress(part, self._max_bytes - size + 1)
            parts.append(part)
            size += len(part)
            if size > self._max_bytes:
                raise self._too_large()
        if response.length or (unpack is not None and size and not unpack.eof):
            raise IncompleteRead(b"")
        return b"".join(parts)

    def _too_large(self) -> OutgoingError:
        return OutgoingError(f"{self._who} answered more than the {self._max_bytes} bytes allowed")

    def _refuse_redirect(self, response: HTTPResponse) -> None:
        if 300 <= response.status < 400:
            scheme = "https" if self._tls else "http"
            here = f"{scheme}://{self._host}:{self._port}{self._path}/"
            place = urls.without_credentials(urljoin(here, response.getheader("Location", "")))
            raise OutgoingError(
                f"{self._who} answers with a redirect to {printable(cut(place, 200))}; give the"
                " URL that it leads to"
            )

    # Connections

    def _dialled(self, deadline: Deadline) -> TimedSocket:
        context = self._policy.context() if self._tls else None
        try:
            return dial(self._host, self._port, deadline, context=context, proxy=self._policy.proxy)
        except (TimeoutError, ssl.SSLError):
            raise
        except ProxyRefusedError as error:
            raise UnreachableError(f"{self._who} is not reachable: {error}") from None
        except _CLOSED:
            raise
        except OSError as error:
            said = printable(error.strerror or str(error))
            raise UnreachableError(f"{self._who} is not reachable: {said}") from None

    def _kept(self, deadline: Deadline) -> TimedSocket | None:
        """A connection from before that still stands, as far as can be seen."""
        since = time.monotonic() - _IDLE_S
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection, kept_at = self._idle.pop()
            if kept_at > since and connection.quiet:
                connection.deadline = deadline
                return connection
            connection.end()

    def _give_back(self, connection: TimedSocket, reusable: bool) -> None:
        if reusable:
            with self._lock:
                if len(self._idle) < self._most_idle:
                    self._idle.append((connection, time.monotonic()))
                    return
        connection.end()

    @contextmanager
    def _sentences(self, limit_s: float) -> Iterator[None]:
        """Say what went wrong, in the same words for every service."""
        who = self._who
        try:
            yield
        except TimeoutError:
            raise SlowAnswerError(f"{who} did not answer within {limit_s:g} s") from None
        except ssl.SSLCertVerificationError as error:
            said = f"shows a certificate that is not trusted: {error.verify_message}"
            raise OutgoingError(f"{who} {said}") from None
        except ssl.SSLEOFError:
            raise OutgoingError(f"{who} closed the connection before it had answered") from None
        except ssl.SSLError as error:
            said = (error.reason or "unknown").replace("_", " ").lower()
            raise OutgoingError(f"{who} and we agree on no TLS: {said}") from None
        except _CLOSED:
            raise OutgoingError(f"{who} closed the connection before it had answered") from None
        except (HTTPException, ValueError, zlib.error):
            raise OutgoingError(f"{who} answers with what is no HTTP") from None
        except OSError as error:
            said = printable(error.strerror or str(error))
            raise UnreachableError(f"{who} is not reachable: {said}") from None


def _has_authorization(headers: Mapping[str, str]) -> bool:
    return "authorization" in map(str.lower, headers)
