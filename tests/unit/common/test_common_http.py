"""The HTTP surface, over a real socket."""

from __future__ import annotations

import base64
import select
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry, Gauge
from pydantic import SecretStr

from common.errors import ConfigError
from common.http import (
    ConnectionHandler,
    HttpSettings,
    Response,
    Server,
    ThreadedServer,
    exposition,
    health,
    metrics,
)
from common.settings import load
from tests.support.log_lines import capture_logs
from tests.support.waiting import until


def boom(_: object) -> Response:
    raise RuntimeError("secret detail")


@contextmanager
def served(settings: HttpSettings | None = None) -> Iterator[str]:
    registry = CollectorRegistry()
    Gauge("sample_value", "One.", registry=registry).set(3)
    routes = {
        "/metrics": metrics(registry),
        "/-/healthy": health(lambda: None),
        "/-/ready": health(lambda: "warming up"),
        "/boom": boom,
    }
    chosen = settings or HttpSettings(http_host="127.0.0.1")
    with Server(chosen, routes, name="test") as server:
        yield f"http://127.0.0.1:{server.port}"


def get(url: str, authorization: str = "") -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Authorization": authorization})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metrics_and_health() -> None:
    with served() as url:
        assert "sample_value 3.0" in get(f"{url}/metrics")[1]
        assert get(f"{url}/-/healthy") == (200, "ok\n")
        assert get(f"{url}/-/ready") == (503, "warming up\n")


@pytest.mark.parametrize("version", ["x", "1.x", ""])
def test_an_accept_header_of_nonsense_gets_the_plain_format(version: str) -> None:
    gauge = Gauge("sample_value", "One.", registry=(registry := CollectorRegistry()))
    gauge.set(3)
    for kind in ("text/plain", "application/openmetrics-text"):
        body, content_type = exposition(registry, f"{kind}; version={version}")
        assert b"sample_value 3.0" in body
        assert content_type


def test_unknown_page_names_what_there_is() -> None:
    with served() as url:
        status, text = get(f"{url}/nowhere")
    assert status == 404
    assert "/metrics" in text


def test_a_failing_page_tells_nothing_of_its_inside() -> None:
    with served() as url:
        status, text = get(f"{url}/boom")
    assert status == 500
    assert "secret" not in text


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("", 401),
        ("Bearer wrong", 401),
        ("Bearer t0ken", 200),
        ("bearer t0ken", 200),
        ("Basic " + base64.b64encode(b"me:pass").decode(), 200),
        ("Basic " + base64.b64encode(b"me:wrong").decode(), 401),
        ("Basic ~~~", 401),
    ],
)
def test_credentials_are_asked_for_but_not_by_health(authorization: str, status: int) -> None:
    settings = HttpSettings(
        http_host="127.0.0.1",
        http_bearer_token=SecretStr("t0ken"),
        http_basic_auth=SecretStr("me:pass"),
    )
    with served(settings) as url:
        assert get(f"{url}/metrics", authorization)[0] == status
        assert get(f"{url}/-/healthy")[0] == 200


def test_a_taken_port_is_a_configuration_error() -> None:
    with served() as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(ConfigError, match="HTTP_PORT"):
            Server(HttpSettings(http_host="127.0.0.1", http_port=port), {}, name="second")


def test_a_port_that_cannot_be_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="HTTP_PORT") as caught:
        load(HttpSettings, environ={"HTTP_PORT": "99999"})
    assert "65535" in str(caught.value)


class Echo(ConnectionHandler):
    arrived = threading.Semaphore(0)
    go_on = threading.Event()

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        if self.path == "/wait":
            self.arrived.release()
            self.go_on.wait()
        if self.path == "/broken":
            raise RuntimeError("a mistake of ours")
        self.send(Response(self.path))


@contextmanager
def echoing(max_connections: int) -> Iterator[tuple[str, int]]:
    settings = HttpSettings(http_host="127.0.0.1")
    with ThreadedServer(settings, Echo, name="echo", max_connections=max_connections) as server:
        yield "127.0.0.1", server.port


def ask(connection: socket.socket, path: str) -> bytes:
    connection.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
    return connection.recv(65536)


def asked_anew(address: tuple[str, int], path: str) -> bool:
    """Whether a new connection gets an answer."""
    try:
        with socket.create_connection(address, timeout=5) as one:
            return path.encode() in ask(one, path)
    except ConnectionError:
        return False


def test_a_connection_beyond_the_most_allowed_takes_the_place_of_an_idle_one() -> None:
    with (
        echoing(max_connections=2) as address,
        socket.create_connection(address, timeout=5) as first,
        socket.create_connection(address, timeout=5) as second,
    ):
        assert ask(first, "/first").endswith(b"/first")
        assert ask(second, "/second").endswith(b"/second")
        until(lambda: asked_anew(address, "/third"), "one of them is known to be idle again")
        closed, *_ = select.select([first, second], [], [], 60)[0]
        assert closed.recv(1) == b""
        other = second if closed is first else first
        assert ask(other, "/still").endswith(b"/still")


def test_while_all_are_at_work_a_further_one_is_closed_until_a_place_is_free() -> None:
    with echoing(max_connections=2) as address:
        with (
            socket.create_connection(address, timeout=5) as first,
            socket.create_connection(address, timeout=5) as second,
        ):
            for one in (first, second):
                one.sendall(b"GET /wait HTTP/1.1\r\n\r\n")
                assert Echo.arrived.acquire(timeout=60)
            assert not asked_anew(address, "/refused")
            Echo.go_on.set()
            assert first.recv(65536).endswith(b"/wait")
        until(lambda: asked_anew(address, "/again"), "a place that is free again")


def test_a_handler_that_fails_frees_its_place_and_is_logged() -> None:
    with capture_logs() as logs, echoing(max_connections=1) as address:

        def closed() -> bool:
            try:
                with socket.create_connection(address, timeout=5) as one:
                    return ask(one, "/broken") == b""
            except ConnectionError:
                return False

        until(lambda: closed() and len(logs) >= 2, "a second failure")
    assert {line["event"] for line in logs} == {"request failed"}
    assert "a mistake of ours" in logs[0]["error"]
