"""A small Kubernetes API server: pods whose annotations can be patched."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from pathlib import Path
from typing import Any

import trustme

from scaler.external.pod_deletion_cost import ANNOTATION


class ApiServer:
    """Knows the pods of one namespace and lets one token patch their metadata."""

    def __init__(self, account: Path) -> None:
        self.account = account
        self.pods: dict[str, dict[str, str]] = {}
        self.requests: list[str] = []
        self.broken = False
        self.forbidden: set[str] = set()
        """Pods that the token may not patch."""
        self.authority = trustme.CA()
        account.mkdir()
        (account / "namespace").write_text("autoscaler\n")
        (account / "ca.crt").write_bytes(self.authority.cert_pem.bytes())
        self.token("first")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("127.0.0.1").configure_cert(context)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def token(self, token: str) -> None:
        self._token = token
        (self.account / "token").write_text(token)

    def cost_of(self, pod: str) -> str | None:
        return self.pods[pod].get(ANNOTATION)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PATCH(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = self._patch(body)
                answer = b"{}"
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def _patch(self, body: bytes) -> int:
                api.requests.append(self.path)
                if api.broken:
                    return 500
                if self.headers["Authorization"] != f"Bearer {api._token}":
                    return 401
                folder, _, pod = self.path.rpartition("/")
                assert folder == "/api/v1/namespaces/autoscaler/pods"
                assert self.headers["Content-Type"] == "application/merge-patch+json"
                if pod in api.forbidden:
                    return 403
                if pod not in api.pods:
                    return 404
                change = json.loads(body)
                assert list(change) == ["metadata"]
                assert list(change["metadata"]) == ["annotations"]
                api.pods[pod].update(change["metadata"]["annotations"])
                return 200

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
                pass

        return Handler
