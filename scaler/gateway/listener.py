"""The gateway's HTTP: short requests without a body, a bearer token, nothing else."""

from __future__ import annotations

import hmac
import json
import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from common.logs import get
from scaler.gateway.service import Answer, Gateway

_TIMEOUT_S = 15.0
_MAX_PATH = 512
_MAX_CONNECTIONS = 64
_log = get("gateway")
_OPEN = ("/-/healthy", "/metrics")


class GatewayServer:
    """Serves until stopped; as a context manager."""

    def __init__(
        self, gateway: Gateway, token: str, registry: CollectorRegistry, *, host: str, port: int
    ) -> None:
        """Binds at once, so that `port` is known; raises OSError when it can't."""
        parts = {"gateway": gateway, "expected": f"Bearer {token}".encode(), "registry": registry}
        self._server = _Server((host, port), type("Handler", (_Handler,), parts))
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), daemon=True)

    def __enter__(self) -> GatewayServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._free = threading.Semaphore(_MAX_CONNECTIONS)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Turn away what comes on top of too many open connections."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In a thread of its own; frees the place afterwards."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - inherited
        """A client that went away is no news; anything else is."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            _log.error("request failed", error=repr(error))


class _Handler(BaseHTTPRequestHandler):
    """One connection. The three parts below are set by the server that it belongs to."""

    gateway: Gateway
    expected: bytes
    registry: CollectorRegistry

    protocol_version = "HTTP/1.1"
    server_version = "gateway"
    sys_version = ""
    timeout = _TIMEOUT_S
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def handle_request(self) -> None:
        """Any method."""
        problem = self._malformed()
        if problem is not None:
            self._refuse(*problem)
            return
        path, _, query = self.path.partition("?")
        if self.command == "GET" and path in _OPEN and not query:
            self._open(path)
        elif not self._authentic():
            self._refuse(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong")
        else:
            self._send(self.gateway.answer(self.command, path, query))

    do_GET = do_POST = do_PUT = do_DELETE = handle_request  # noqa: N815 - http.server's names
    do_PATCH = do_HEAD = do_OPTIONS = do_CONNECT = do_TRACE = handle_request  # noqa: N815

    def handle_expect_100(self) -> bool:
        """Nobody is told to go on and send a body."""
        self._refuse(HTTPStatus.EXPECTATION_FAILED, "no expectation here")
        return False

    def _malformed(self) -> tuple[HTTPStatus, str] | None:
        lengths = self.headers.get_all("Content-Length", [])
        if self.headers.get("Transfer-Encoding") or any(one.strip() != "0" for one in lengths):
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "requests have no body here"
        if self.headers.get("Upgrade"):
            return HTTPStatus.BAD_REQUEST, "no upgrade here"
        if len(self.path) > _MAX_PATH or not self.path.isascii() or "%" in self.path:
            return HTTPStatus.BAD_REQUEST, "a short path without escapes is wanted"
        return None

    def _authentic(self) -> bool:
        given = self.headers.get("Authorization", "").encode("utf-8", "replace")
        return hmac.compare_digest(given, self.expected)

    def _open(self, path: str) -> None:
        body = b"ok\n" if path == "/-/healthy" else generate_latest(self.registry)
        self._write(HTTPStatus.OK, body, "text/plain; version=0.0.4; charset=utf-8")

    def send_error(
        self,
        code: int,
        message: str | None = None,
        explain: str | None = None,  # noqa: ARG002 - http.server passes it
    ) -> None:
        """What http.server itself refuses (syntax, too long, unknown method) is logged, too."""
        # Whatever was asked in, this is what is answered in.
        self.request_version = self.protocol_version
        self._refuse(HTTPStatus(code), message or "malformed request")

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        # What follows on this connection might be the body of what was refused.
        self.close_connection = True
        method, path = getattr(self, "command", None) or "?", getattr(self, "path", None) or "?"
        self._send(self.gateway.refuse(status, why, method, path))

    def _send(self, answer: Answer) -> None:
        if answer.status >= HTTPStatus.BAD_REQUEST:
            self.close_connection = True
        body = json.dumps(answer.body).encode()
        self._write(answer.status, body, "application/json")

    def _write(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
        """What was refused or changed is logged where that is decided."""
