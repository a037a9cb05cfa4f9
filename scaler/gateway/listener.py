"""The gateway's HTTP: short requests without a body, a bearer token, nothing else."""

from __future__ import annotations

import hmac
from http import HTTPStatus

from prometheus_client import CollectorRegistry

from common.http import ConnectionHandler, HttpSettings, Response, ThreadedServer, health, metrics
from common.logs import get
from scaler.gateway.service import Gateway

_MAX_PATH = 512
_MAX_CONNECTIONS = 64


class GatewayServer(ThreadedServer):
    """Lets a scaler that knows the token read and change services."""

    log = get("gateway")

    def __init__(
        self, gateway: Gateway, token: str, registry: CollectorRegistry, *, host: str, port: int
    ) -> None:
        """Binds at once, so that `port` is known; raises ConfigError when it can't."""
        self.gateway = gateway
        self.expected = f"Bearer {token}".encode()
        self.open_pages = {"/-/healthy": health(lambda: None), "/metrics": metrics(registry)}
        settings = HttpSettings(http_host=host, http_port=port)
        super().__init__(settings, _Handler, name="gateway", max_connections=_MAX_CONNECTIONS)


class _Handler(ConnectionHandler):
    server: GatewayServer
    server_version = "gateway"

    def handle_request(self) -> None:
        """Any method."""
        problem = self._malformed()
        if problem is not None:
            self._refuse(*problem)
            return
        path, _, query = self.path.partition("?")
        page = self.server.open_pages.get(path)
        if page is not None and self.command == "GET" and not query:
            self.send_page(page, path, query)
        elif not self._authentic():
            self._refuse(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong")
        else:
            self.send(self.server.gateway.answer(self.command, path, query))

    do_GET = do_POST = do_PUT = do_DELETE = handle_request  # noqa: N815 - http.server's names
    do_PATCH = do_HEAD = do_OPTIONS = do_CONNECT = do_TRACE = handle_request  # noqa: N815 - its names

    def handle_expect_100(self) -> bool:
        """No client is asked to send a body."""
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
        return hmac.compare_digest(given, self.server.expected)

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
        method, path = self.command or "?", getattr(self, "path", None) or "?"
        self.send(self.server.gateway.refuse(status, why, method, path))

    def send(self, response: Response) -> None:
        """Send `response`; a refusal ends the connection."""
        # What follows on it might be the body of what was refused.
        if response.status >= HTTPStatus.BAD_REQUEST:
            self.close_connection = True
        super().send(response)
