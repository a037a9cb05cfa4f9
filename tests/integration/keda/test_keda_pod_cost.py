"""The annotation that has idle pods removed first, against a small API server."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from common.errors import ConfigError
from common.settings import load
from scaler.orchestrators.base import WorkerSeen
from scaler.pod_deletion_cost import (
    ANNOTATION,
    KubernetesError,
    PodDeletionCost,
    PodDeletionCostSettings,
    Pods,
    costs,
)


class ApiServer:
    """Knows the pods of one namespace and lets one token patch their metadata."""

    def __init__(self, account: Path) -> None:
        self.account = account
        self.pods: dict[str, dict[str, str]] = {}
        self.requests: list[str] = []
        self.broken = False
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
                if pod not in api.pods:
                    return 404
                change = json.loads(body)
                assert list(change) == ["metadata"]
                assert list(change["metadata"]) == ["annotations"]
                api.pods[pod].update(change["metadata"]["annotations"])
                return 200

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path / "account")
    try:
        yield server
    finally:
        server.close()


def settings(api: ApiServer) -> PodDeletionCostSettings:
    return load(
        PodDeletionCostSettings,
        environ={
            "POD_DELETION_COST": "true",
            "POD_DELETION_COST_INTERVAL_S": "0.1",
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(api.port),
            "SERVICE_ACCOUNT_PATH": str(api.account),
        },
    )


def worker(pod: str, state: str) -> WorkerSeen:
    return WorkerSeen(id=pod, state=state, since=0.0, task=pod)


def cost_of(api: ApiServer, pod: str) -> str | None:
    return api.pods[pod].get(ANNOTATION)


def test_costs_follow_the_workers_and_only_changes_are_written(api: ApiServer) -> None:
    api.pods = {"a": {"keep": "this"}, "b": {}, "c": {}}
    workers = [worker("a", "busy"), worker("b", "idle"), worker("c", "draining")]
    keeper = PodDeletionCost(Pods(settings(api)), lambda: workers, interval_s=1)
    keeper.step()
    assert api.pods["a"] == {"keep": "this", ANNOTATION: "1000"}
    assert (cost_of(api, "b"), cost_of(api, "c")) == ("0", "1000")
    before = len(api.requests)
    keeper.step()
    assert len(api.requests) == before, "nothing has changed"
    workers[0] = worker("a", "idle")
    workers[1] = worker("b", "busy")
    keeper.step()
    assert (cost_of(api, "a"), cost_of(api, "b")) == ("0", "1000")
    busy_first = [path.rpartition("/")[2] for path in api.requests[before:]]
    assert busy_first == ["b", "a"]


def test_a_pod_that_is_gone_and_one_of_a_strange_name_stop_nobody(api: ApiServer) -> None:
    api.pods = {"b": {}}
    strange = [worker("../secrets/x", "busy"), worker("", "busy"), worker("A_B", "busy")]
    assert costs(strange) == {}
    workers = [worker("gone", "busy"), worker("b", "busy"), *strange]
    keeper = PodDeletionCost(Pods(settings(api)), lambda: workers, interval_s=1)
    keeper.step()
    keeper.step()
    assert cost_of(api, "b") == "1000"
    assert sorted(path.rpartition("/")[2] for path in api.requests) == ["b", "gone"]


def test_an_outage_is_made_up_for_and_a_new_token_is_taken(api: ApiServer) -> None:
    api.pods = {"a": {}}
    workers = [worker("a", "busy")]
    keeper = PodDeletionCost(Pods(settings(api)), lambda: workers, interval_s=0.1).start()
    try:
        until(lambda: cost_of(api, "a") == "1000")
        api.broken = True
        workers[0] = worker("a", "idle")
        time.sleep(0.3)
        assert cost_of(api, "a") == "1000"
        api.broken = False
        api.token("second")
        until(lambda: cost_of(api, "a") == "0")
    finally:
        keeper.stop()


def test_another_authority_is_not_trusted(api: ApiServer) -> None:
    (api.account / "ca.crt").write_bytes(trustme.CA().cert_pem.bytes())
    with pytest.raises(KubernetesError, match="CERTIFICATE_VERIFY_FAILED"):
        Pods(settings(api)).annotate("a", 1)
    assert api.requests == []


def test_outside_of_a_cluster_it_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"POD_DELETION_COST.*false outside of Kubernetes"):
        Pods(PodDeletionCostSettings(pod_deletion_cost=True))


def until(check: Any) -> None:
    deadline = time.monotonic() + 20
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)
