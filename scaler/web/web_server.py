"""Serves the app on a thread of its own."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from functools import partial
from types import TracebackType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from common.connections import Connections
from common.errors import ConfigError
from common.http import HttpSettings

_STARTED_WITHIN_S = 10.0
# Of the server's own ticks, ten a second.
_OVERDUE_EVERY = 10


class WebServer:
    """An ASGI server in the background. Use as a context manager."""

    def __init__(self, settings: HttpSettings, app: FastAPI) -> None:
        """Binds at once, so that `port` is known; raises ConfigError when it can't."""
        self._app = app
        where = f"{settings.http_host}:{settings.http_port}"
        try:
            self._socket = socket.create_server(
                (settings.http_host, settings.http_port), backlog=128
            )
        except OSError as error:
            raise ConfigError("HTTP_PORT", where, f"a free port ({error.strerror})") from error
        self.port: int = self._socket.getsockname()[1]
        book: Connections[_Connection] = Connections()
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http=partial(_Connection, book),  # type: ignore[arg-type]  # makes such a protocol
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # Addresses are what the connection says: a header could claim any.
            proxy_headers=False,
            timeout_graceful_shutdown=1,
            **_tls(settings),
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            path = str(settings.http_tls_cert_file)
            allowed = f"a readable certificate with its key ({error})"
            raise ConfigError("HTTP_TLS_CERT_FILE", path, allowed) from error
        self._server = _Server(config, book)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="web", daemon=True
        )

    def __enter__(self) -> WebServer:
        self._thread.start()
        deadline = time.monotonic() + _STARTED_WITHIN_S
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._app.state.pulse.end()
        self._server.should_exit = True
        self._thread.join(5)
        self._socket.close()


class _Server(uvicorn.Server):
    """Closes connections that say nothing, in time and where others need their places."""

    def __init__(self, config: uvicorn.Config, book: Connections[_Connection]) -> None:
        super().__init__(config)
        self._book = book

    async def on_tick(self, counter: int) -> bool:
        if counter % _OVERDUE_EVERY == 0:
            for idle in self._book.take_overdue():
                idle.transport.abort()
        return await super().on_tick(counter)


class _Connection(H11Protocol):
    """One connection, which is idle from its beginning until a request's head has come, and again
    after each answer."""

    def __init__(self, book: Connections[_Connection], **given: Any) -> None:
        super().__init__(**given)
        self._book = book

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        closed = self._book.enter(self)
        if closed is not None:
            closed.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._book.leave(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._book.works(self)

    def on_response_complete(self) -> None:
        self._book.waits(self)
        super().on_response_complete()
        # The book knows better: it counts also the time in which a request comes bit by bit.
        self._unset_keepalive_if_required()


def _tls(settings: HttpSettings) -> dict[str, Any]:
    if settings.http_tls_cert_file is None:
        return {}
    client_ca = settings.http_tls_client_ca_file
    return {
        "ssl_certfile": settings.http_tls_cert_file,
        "ssl_keyfile": settings.http_tls_key_file,
        "ssl_ca_certs": client_ca,
        "ssl_cert_reqs": ssl.CERT_REQUIRED if client_ca else ssl.CERT_NONE,
    }
