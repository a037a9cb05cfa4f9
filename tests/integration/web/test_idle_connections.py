"""Connections that say nothing, or not all of it, keep nobody else from an answer."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import pytest
import trustme
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from common import connections
from common.http import HttpSettings, Server, health, metrics
from scaler.gateway.listener import GatewayServer
from scaler.gateway.service import Gateway
from scaler.orchestrators.swarm.engine import DirectEngine
from scaler.policy.target import Target
from scaler.web.access import Access
from scaler.web.app import create_app
from scaler.web.web_server import WebServer
from tests.support.crew import Crew, board_of, controller_of
from tests.support.hostile import TOKEN
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
IDLE = 300
SAID = {
    "nothing": b"",
    "half a request line": b"GET /metr",
    "half the headers": b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: te",
    "a request, and half of another": b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\nGET /",
    "half a body that nobody reads": (
        b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"
    ),
}


@contextmanager
def scaler(settings: HttpSettings, folder: Path) -> Iterator[int]:
    crew = Crew()
    controller = controller_of(crew, [Target()], folder)
    app = create_app(board_of(crew, controller), Access(settings, None), health_check=lambda: None)
    with WebServer(settings, app) as server:
        yield server.port
    controller.history.close()


@contextmanager
def exporter(settings: HttpSettings, _: Path) -> Iterator[int]:
    """The server of exporter and worker."""
    routes = {"/-/healthy": health(lambda: None), "/metrics": metrics(CollectorRegistry())}
    with Server(settings, routes, name="exporter") as server:
        yield server.port


@contextmanager
def gateway(_: HttpSettings, __: Path) -> Iterator[int]:
    registry = CollectorRegistry()
    engine = DirectEngine("tcp://127.0.0.1:9", min_grace_s=1)
    made = Gateway(engine, min_workers=1, max_workers=10, registry=registry)
    with GatewayServer(made, TOKEN, registry, host="127.0.0.1", port=0) as server:
        yield server.port


SERVERS = {"scaler": scaler, "exporter": exporter, "gateway": gateway}


@pytest.fixture(params=SERVERS)
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    with SERVERS[request.param](HttpSettings(http_host="127.0.0.1"), tmp_path) as port:
        yield port


@contextmanager
def idle(port: int, said: bytes) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        opened = []
        for _ in range(IDLE):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            opened.append(one)
            # It may be closed already: its place went to one of the next.
            with suppress(ConnectionError):
                one.sendall(said)
        yield opened


def answers(make: Callable[[], HTTPConnection]) -> list[int]:
    found = []
    for path in ("/-/healthy", "/metrics"):
        connection = make()
        connection.request("GET", path)
        found.append(connection.getresponse().status)
        connection.close()
    return found


def ended(one: socket.socket) -> bool:
    """Whether the server has closed it, whatever it said before."""
    one.setblocking(False)
    try:
        while one.recv(4096):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_idle_connections_keep_nobody_from_an_answer(port: int, said: bytes) -> None:
    with idle(port, said):
        assert answers(lambda: HTTPConnection("127.0.0.1", port, timeout=60)) == [200, 200]


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_idle_connections_are_closed_after_a_while(
    port: int, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "FIRST_REQUEST_S", 0.5)
    monkeypatch.setattr(connections, "NEXT_REQUEST_S", 0.5)
    with idle(port, said) as opened:
        until(lambda: all(map(ended, opened)), "every idle connection closed")


def test_a_head_that_comes_byte_by_byte_wins_no_time(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "FIRST_REQUEST_S", 1.0)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as one:
        one.sendall(b"GET /metrics HTTP/1.1\r\nX: ")

        def cut_off() -> bool:
            try:
                one.setblocking(True)
                one.sendall(b"x")
            except ConnectionError:
                return True
            return ended(one)

        until(cut_off, "the end of its time")


@pytest.mark.parametrize("program", ["scaler", "exporter"])
@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01"])
def test_idle_handshakes_keep_nobody_from_an_answer(
    program: str, said: bytes, tmp_path: Path
) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    leaf.private_key_pem.write_to_path(key)
    for part in leaf.cert_chain_pems:
        part.write_to_path(certificate, append=True)
    settings = HttpSettings(
        http_host="127.0.0.1",
        http_tls_cert_file=certificate,
        http_tls_key_file=key,
        http_bearer_token=SecretStr("x"),
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)

    def made() -> HTTPConnection:
        return HTTPSConnection("127.0.0.1", where, timeout=60, context=context)

    with SERVERS[program](settings, tmp_path) as where, idle(where, said):
        assert answers(made) == [200, 401]
