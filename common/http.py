"""The small HTTP surface of every program: health, metrics, pages.

Routes are plain functions. The TLS handshake runs in the request's own thread, and connections
that say nothing give their places up, so idle ones never block a scrape; authentication is
optional and compares in constant time.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import json
import re
import secrets
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import parse_qs, urlsplit

import bcrypt
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from pydantic import Field, SecretStr, field_validator

from common.connections import MOST, Connections
from common.errors import ConfigError, SecretInputError
from common.logs import get
from common.settings import Settings

_REQUEST_TIMEOUT_S = 15.0
_OVERDUE_EVERY_S = 1.0
_BCRYPT = re.compile(r"[^:]+:\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")


class HttpSettings(Settings):
    """Where to listen and which clients to admit."""

    http_host: str = "0.0.0.0"  # noqa: S104 - a container's own network; bind narrower by setting
    http_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """0 takes a free port."""
    http_bearer_token: SecretStr | None = None
    http_basic_auth: SecretStr | None = None
    """`user:password`. With any of these set, all but `/-/healthy` and `/-/ready` asks for it."""
    http_basic_auth_bcrypt: SecretStr | None = None
    """`user:hash` with a bcrypt hash, as `htpasswd -nB` prints it."""
    http_tls_cert_file: Path | None = None
    http_tls_key_file: Path | None = None
    http_tls_client_ca_file: Path | None = None
    """With it, clients must show a certificate of this authority."""

    @field_validator("http_basic_auth")
    @classmethod
    def _paired(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and ":" not in value.get_secret_value():
            raise SecretInputError("user:password")
        return value

    @field_validator("http_basic_auth_bcrypt")
    @classmethod
    def _hashed(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _BCRYPT.fullmatch(value.get_secret_value()):
            raise SecretInputError("user:hash with a bcrypt hash ($2a$, $2b$ or $2y$)")
        return value


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `query` holds the first value of each parameter."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a request."""

    body: bytes | str
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Response]
Routes = Mapping[str, Handler]
"""GET handlers by exact path."""

OPEN_PATHS = ("/-/healthy", "/-/ready")


def as_json(content: Any, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """`content` as a JSON response."""
    return Response(json.dumps(content, default=str), status, "application/json")


def health(check: Callable[[], str | None]) -> Handler:
    """A handler: 200 `ok` while `check()` is None, else 503 with the problem that it returns."""

    def handle(_: Request) -> Response:
        problem = check()
        if problem is None:
            return Response("ok\n")
        return Response(f"{problem}\n", HTTPStatus.SERVICE_UNAVAILABLE)

    return handle


def metrics(registry: CollectorRegistry) -> Handler:
    """A handler that exposes `registry` in the format that the client accepts."""

    def handle(request: Request) -> Response:
        body, content_type = exposition(registry, request.headers.get("Accept", ""))
        return Response(body, content_type=content_type)

    return handle


def exposition(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """`registry` in the format that an Accept header asks for, and that format's name."""
    try:
        encoder, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no number
        encoder, content_type = choose_encoder("")
    return encoder(registry), content_type


class ThreadedServer(ThreadingHTTPServer):
    """Gives each connection a thread. Use as a context manager or start() and stop()."""

    daemon_threads = True
    request_queue_size = 128
    log = get("http")

    def __init__(
        self,
        settings: HttpSettings,
        handler: type[ConnectionHandler],
        *,
        name: str,
        max_connections: int = MOST,
    ) -> None:
        """Binds at once, so that `port` is known; raises ConfigError when it can't.

        While `max_connections` are open, a further one takes the place of one that is idle, and
        is closed unanswered where none is.
        """
        self._context = _tls_context(settings)
        self.connections: Connections[socket.socket] = Connections(max_connections)
        """By the socket as it was accepted."""
        self._looked_at = time.monotonic()
        self._here = threading.local()
        try:
            super().__init__((settings.http_host, settings.http_port), handler)
        except OSError as error:
            where = f"{settings.http_host}:{settings.http_port}"
            raise ConfigError("HTTP_PORT", where, f"a free port ({error.strerror})") from error
        self.port: int = self.server_address[1]
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.2,), name=f"http-{name}", daemon=True
        )

    def start(self) -> Self:
        """Serve from now on."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving and free the port."""
        self.shutdown()
        self.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Close a connection beyond the most that may be open."""
        closed = self.connections.enter(request)
        if closed is not None:
            if closed is request:
                self.shutdown_request(request)
                return
            _end(closed)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In a thread of its own; frees the place afterwards."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.leave(request)

    def service_actions(self) -> None:
        """Close what has been idle for too long; called several times a second."""
        super().service_actions()
        now = time.monotonic()
        if now - self._looked_at > _OVERDUE_EVERY_S:
            self._looked_at = now
            for idle in self.connections.take_overdue():
                _end(idle)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Runs in the request's thread: the handshake may take its time here."""
        request.settimeout(_REQUEST_TIMEOUT_S)
        self._here.connection = request
        if self._context is None:
            super().finish_request(request, client_address)
            return
        # A copy is secured, so that the one accepted can still end it, also in mid-handshake.
        copy = request.dup()
        copy.settimeout(_REQUEST_TIMEOUT_S)
        try:
            secured = self._context.wrap_socket(copy, server_side=True)
        except (OSError, ssl.SSLError):
            copy.close()
            return
        with secured:
            super().finish_request(secured, client_address)

    def waits(self) -> None:
        """The connection of this thread waits for its next request."""
        self.connections.waits(self._here.connection)

    def works(self) -> None:
        """A request has come on it."""
        self.connections.works(self._here.connection)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - inherited
        """Log errors, but not clients that disconnected in mid-answer."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            self.log.error("request failed", error=repr(error))


class ConnectionHandler(BaseHTTPRequestHandler):
    """What the requests of one connection have in common, whatever the server."""

    server: ThreadedServer
    protocol_version = "HTTP/1.1"
    server_version = "autoscaler"
    sys_version = ""
    # An answer leaves as a whole, and at once.
    wbufsize = -1
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        """One request, for which the connection waits until it has come."""
        self.server.waits()
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Whether a request has come that can be answered."""
        whole = super().parse_request()
        self.server.works()
        return whole

    def send_page(self, page: Handler, path: str, query: str) -> None:
        """Send what `page` answers, or 500 when it fails."""
        fields = {name: values[0] for name, values in parse_qs(query).items()}
        request = Request(self.command, path, fields, dict(self.headers))
        try:
            response = page(request)
        except Exception as error:
            self.server.log.error("page failed", path=path, error=repr(error))
            text = "internal error; see the log\n"
            response = Response(text, HTTPStatus.INTERNAL_SERVER_ERROR)
        self.send(response)

    def send(self, response: Response) -> None:
        """Send `response`; its body only where that is asked for."""
        raw = response.body
        body = raw.encode() if isinstance(raw, str) else raw
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in response.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
        """No access log: it would drown what matters."""


class Server(ThreadedServer):
    """Answers GET and HEAD by `routes`, for those whom `settings` lets in."""

    def __init__(self, settings: HttpSettings, routes: Routes, *, name: str) -> None:
        """Raises ConfigError when it can't bind."""
        self.routes = routes
        self.guard = Guard(settings)
        super().__init__(settings, _PageHandler, name=name)


class _PageHandler(ConnectionHandler):
    server: Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        page = self.server.routes.get(parts.path)
        if not self.server.guard.admits(parts.path, self.headers.get("Authorization", "")):
            challenge = {"WWW-Authenticate": 'Bearer, Basic realm="autoscaler"'}
            text = "authentication is required\n"
            self.send(Response(text, HTTPStatus.UNAUTHORIZED, headers=challenge))
        elif page is None:
            known = ", ".join(sorted(self.server.routes))
            text = f"no page at {parts.path[:200]}; there are: {known}\n"
            self.send(Response(text, HTTPStatus.NOT_FOUND))
        else:
            self.send_page(page, parts.path, parts.query)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for


class Guard:
    """Decides whether a request is admitted, for every HTTP surface of ours."""

    def __init__(self, settings: HttpSettings) -> None:
        self._accepted = []
        if settings.http_bearer_token:
            token = settings.http_bearer_token.get_secret_value()
            self._accepted.append(f"bearer {token}".encode())
        if settings.http_basic_auth:
            pair = settings.http_basic_auth.get_secret_value()
            self._accepted.append(f"basic {pair}".encode())
        hashed = settings.http_basic_auth_bcrypt
        self._hashed = _Hashed(hashed.get_secret_value()) if hashed else None

    def admits(self, path: str, authorization: str) -> bool:
        """Whether this Authorization header is enough for this path."""
        if path in OPEN_PATHS or not (self._accepted or self._hashed):
            return True
        given = _normalised(authorization)
        # Every comparison is made, so that timing does not reveal which one was close.
        matches = [hmac.compare_digest(given, accepted) for accepted in self._accepted]
        if self._hashed is not None and not any(matches) and given.startswith(b"basic "):
            matches.append(self._hashed.admits(given.removeprefix(b"basic ")))
        return any(matches)


class _Hashed:
    """One user whose password is known by its bcrypt hash only.

    A check costs tens of milliseconds by design; what has passed is remembered as a keyed digest,
    so that a scrape a second does not pay for it, and guesses are checked one at a time.
    """

    def __init__(self, pair: str) -> None:
        user, _, hashed = pair.partition(":")
        self._user, self._hash = user.encode(), hashed.encode()
        self._key = secrets.token_bytes(32)
        self._passed = b""
        self._one_at_a_time = threading.Lock()

    def admits(self, pair: bytes) -> bool:
        digest = hmac.digest(self._key, pair, "sha256")
        if hmac.compare_digest(digest, self._passed):
            return True
        user, _, password = pair.partition(b":")
        with self._one_at_a_time:
            right = hmac.compare_digest(user, self._user) & self._matches(password)
            if right:
                self._passed = digest
        return right

    def _matches(self, password: bytes) -> bool:
        try:
            return bcrypt.checkpw(password, self._hash)
        except ValueError:  # longer than bcrypt takes
            return False


def _normalised(authorization: str) -> bytes:
    scheme, _, credentials = authorization.strip().partition(" ")
    if scheme.lower() == "basic":
        try:
            return b"basic " + base64.b64decode(credentials, validate=True)
        except binascii.Error:
            return b""
    return f"{scheme.lower()} {credentials}".encode()


def _end(connection: socket.socket) -> None:
    """Have the thread that waits on it find it closed."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _tls_context(settings: HttpSettings) -> ssl.SSLContext | None:
    if settings.http_tls_cert_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.http_tls_cert_file, settings.http_tls_key_file)
        if settings.http_tls_client_ca_file is not None:
            context.load_verify_locations(settings.http_tls_client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        allowed = f"a readable certificate with its key ({error.strerror or 'unreadable'})"
        raise ConfigError(
            "HTTP_TLS_CERT_FILE", str(settings.http_tls_cert_file), allowed
        ) from error
    return context
