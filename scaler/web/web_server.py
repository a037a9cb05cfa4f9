"""Serves the app on a thread of its own."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from types import TracebackType
from typing import Any

import uvicorn
from fastapi import FastAPI

from common.errors import ConfigError
from common.http import HttpSettings

_MOST_CONNECTIONS = 256
_STARTED_WITHIN_S = 10.0


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
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # Addresses are what the connection says: a header could claim any.
            proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=1,
            **_tls(settings),
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            path = str(settings.http_tls_cert_file)
            allowed = f"a readable certificate with its key ({error})"
            raise ConfigError("HTTP_TLS_CERT_FILE", path, allowed) from error
        self._server = uvicorn.Server(config)
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
