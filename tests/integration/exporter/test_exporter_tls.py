"""TLS and client certificates on every side: towards each source, and towards Prometheus."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from common.http import Server
from common.outgoing import ClientPolicy
from demo.stack import Stack
from exporter.__main__ import connected, settings
from exporter.pages import routes

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, and a certificate with its key for a server (127.0.0.1) and for a client."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, cwd=folder, capture_output=True)

    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test-ca"),
        *("-addext", "keyUsage=critical,keyCertSign"),
        *("-keyout", "ca.key", "-out", "ca.pem"),
    )
    for name in ("server", "client"):
        (folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1\n")
        openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem"),
        )
    return folder


@contextmanager
def behind_tls(port: int, certificates: Path) -> Iterator[int]:
    """A loopback port that takes TLS with a client certificate and passes the bytes to `port`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def serve(raw: socket.socket) -> None:
        with suppress(OSError):
            client = context.wrap_socket(raw, server_side=True)
            inner = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=pump, args=(inner, client), daemon=True).start()
            pump(client, inner)

    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    raw, _ = server.accept()
                    threading.Thread(target=serve, args=(raw,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield int(server.getsockname()[1])


@contextmanager
def secured(stack: Stack, certificates: Path, *, known: bool) -> Iterator[str]:
    """An exporter that speaks TLS on every side; `known` whether it has a client certificate."""
    with ExitStack() as proxies:
        ports = [
            proxies.enter_context(behind_tls(port, certificates))
            for port in (stack.amqp_port, stack.redis_port, stack.management_port)
        ]
        password = certificates / "rabbit_url"
        password.write_text(f"amqps://guest:guest@127.0.0.1:{ports[0]}/\n")
        env = {
            "RABBIT_URL_FILE": str(password),
            "REDIS_URL": f"rediss://127.0.0.1:{ports[1]}/0",
            "MANAGEMENT_URL": f"https://guest:guest@127.0.0.1:{ports[2]}",
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": "0",
            "HTTP_TLS_CERT_FILE": str(certificates / "server.pem"),
            "HTTP_TLS_KEY_FILE": str(certificates / "server.key"),
            "HTTP_TLS_CLIENT_CA_FILE": str(certificates / "ca.pem"),
        }
        for source in ("RABBIT", "REDIS", "MANAGEMENT"):
            env[f"{source}_CA_FILE"] = str(certificates / "ca.pem")
            if known:
                env[f"{source}_CERT_FILE"] = str(certificates / "client.pem")
                env[f"{source}_KEY_FILE"] = str(certificates / "client.key")
        given = settings(env)
        exporter = connected(given, ClientPolicy("MANAGEMENT", env))
        with Server(given, routes(exporter, given.scrape_timeout), name="exporter") as server:
            exporter.start()
            try:
                yield f"https://127.0.0.1:{server.port}/metrics"
            finally:
                exporter.close()


def get(url: str, certificates: Path, *, certificate: bool = True) -> str:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    if certificate:
        context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    with urllib.request.urlopen(url, timeout=20, context=context) as response:
        body: bytes = response.read()
    return body.decode()


SOURCES = ("amqp", "ledger", "management")


def test_every_source_is_read_over_tls_with_a_client_certificate(
    stack: Stack, certificates: Path
) -> None:
    with secured(stack, certificates, known=True) as url:
        text = get(url, certificates)
    for source in SOURCES:
        assert f'autoscaler_source_up{{source="{source}"}} 1.0' in text
    assert 'rabbitmq_queue_messages_ready{queue="video-queue",vhost="/"} 0.0' in text


def test_no_source_is_read_without_one(stack: Stack, certificates: Path) -> None:
    with secured(stack, certificates, known=False) as url:
        text = get(url, certificates)
    for source in SOURCES:
        assert f'autoscaler_source_up{{source="{source}"}} 0.0' in text


def test_prometheus_must_show_a_certificate_too(stack: Stack, certificates: Path) -> None:
    with (
        secured(stack, certificates, known=True) as url,
        pytest.raises((urllib.error.URLError, ConnectionError, ssl.SSLError)),
    ):
        get(url, certificates, certificate=False)


def test_an_idle_connection_blocks_no_scrape(stack: Stack, certificates: Path) -> None:
    with secured(stack, certificates, known=True) as url:
        port = int(url.split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port)):
            assert "autoscaler_source_up" in get(url, certificates)
