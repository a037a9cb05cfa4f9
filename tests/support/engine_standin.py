"""A Docker engine's API as far as the scaler asks for it, which can be made to misbehave."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Fault = Callable[["Handler"], object]
TEMPLATE: dict[str, Any] = {
    "ContainerSpec": {"Image": "worker", "StopGracePeriod": 600_000_000_000},
    "RestartPolicy": {"Condition": "on-failure"},
}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: EngineStandin

    def handle_request(self) -> None:
        """Answer, or do what the fault does."""
        engine, path = self.server, urlsplit(self.path).path
        length = int(self.headers.get("Content-Length") or 0)
        self.content = self.rfile.read(length)
        engine.requests.append(f"{self.command} {path.removeprefix('/v1.41')}")
        if engine.fault is not None and path != "/version":
            engine.fault(self)
        else:
            self.obey()

    do_GET = do_POST = handle_request  # noqa: N815 - http.server's names

    def obey(self) -> None:
        """Do as the engine would."""
        self.say(*self.server.answer(self.command, self.path, self.content))

    def say(self, status: int, content: Any) -> None:
        """Answer with JSON, or with bytes as they are."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


class EngineStandin(ThreadingHTTPServer):
    """Services and their tasks; each change gives a service a new version. Use as a context."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.host = f"tcp://127.0.0.1:{self.server_address[1]}"
        self.services: list[Any] = []
        self.tasks: list[Any] = []
        self.nodes: list[Any] = []
        self.requests: list[str] = []
        """Method and path of each, without the API's version."""
        self.fault: Fault | None = None
        """What is done instead of answering."""

    def __enter__(self) -> EngineStandin:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """A client that has gone is none of ours."""

    def add(self, name: str, replicas: int = 1, **labels: str) -> dict[str, Any]:
        """A service that opted in, with as many running tasks."""
        service = {
            "ID": f"{name}id".ljust(25, "0"),
            "Version": {"Index": 7},
            "UpdatedAt": "2020-01-01T00:00:00Z",
            "Spec": {
                "Name": name,
                "Labels": {"autoscaler.enable": "true", **labels},
                "TaskTemplate": dict(TEMPLATE),
                "Mode": {"Replicated": {"Replicas": replicas}},
            },
        }
        self.services.append(service)
        for slot in range(1, replicas + 1):
            self.tasks.append(
                {
                    "ID": f"{name}.{slot}",
                    "ServiceID": service["ID"],
                    "Slot": slot,
                    "NodeID": "n1",
                    "DesiredState": "running",
                    "Status": {"State": "running", "Timestamp": "2020-01-01T00:00:00Z"},
                    "Spec": dict(TEMPLATE),
                }
            )
        return service

    def replicas(self, name: str) -> int:
        """The count of a service."""
        return int(self._service(name)["Spec"]["Mode"]["Replicated"]["Replicas"])

    def answer(self, method: str, target: str, content: bytes) -> tuple[int, Any]:
        """Status and content."""
        parts = urlsplit(target)
        path, query = parts.path.removeprefix("/v1.41"), parse_qs(parts.query)
        lists = {"/services": self.services, "/nodes": self.nodes}
        if path == "/version":
            return 200, {"ApiVersion": "1.41"}
        if path == "/tasks":
            wanted = json.loads(query["filters"][0])["service"] if query else None
            found = [t for t in self.tasks if wanted is None or t["ServiceID"] in wanted]
            return 200, found
        if path in lists:
            return 200, lists[path]
        return self._of_a_service(method, path.split("/")[2], query, content)

    def _of_a_service(
        self, method: str, name: str, query: dict[str, list[str]], content: bytes
    ) -> tuple[int, Any]:
        try:
            service = self._service(name)
        except StopIteration:
            return 404, {"message": f"service {name} not found"}
        if method == "GET":
            return 200, service
        if query["version"] != [str(service["Version"]["Index"])]:
            return 500, {"message": "rpc error: update out of sequence"}
        service["Spec"] = json.loads(content)
        service["Version"] = {"Index": service["Version"]["Index"] + 1}
        return 200, {"Warnings": None}

    def _service(self, name: str) -> Any:
        named = [each for each in self.services if isinstance(each, dict) and "Spec" in each]
        return next(each for each in named if name in (each["ID"], each["Spec"]["Name"]))
