"""An HTTP server that does one thing to whoever asks it."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import trustme

Deed = Callable[[socket.socket, threading.Event], None]


def saying(answer: bytes) -> Deed:
    """One answer."""
    return lambda client, _: client.sendall(answer)


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A sound answer with that body."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def endless(begin: bytes, piece: bytes, pause_s: float = 0.0) -> Deed:
    """`begin`, and then one piece after the other until nobody listens."""

    def deed(client: socket.socket, stop: threading.Event) -> None:
        client.sendall(begin)
        while not stop.wait(pause_s):
            client.sendall(piece)

    return deed


def mute(client: socket.socket, stop: threading.Event) -> None:
    """Nothing at all."""
    stop.wait()


@cache
def bomb() -> bytes:
    """300 MB of spaces in 300 kB."""
    return gzip.compress(b" " * 300_000_000, 1)


class Misbehaving:
    """What it was asked, whole requests as they came, and where it listens."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[bytes] = []

    @property
    def heads(self) -> list[str]:
        """The requests without their bodies."""
        return [each.partition(b"\r\n\r\n")[0].decode("latin-1") for each in self.asked]


@contextmanager
def misbehaving(deed: Deed, context: ssl.SSLContext | None = None) -> Iterator[Misbehaving]:
    """A server on loopback, by TLS where there is a context. Keeps no connection."""
    stop = threading.Event()
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", 0))
    server = Misbehaving(int(listener.getsockname()[1]))

    def serve(raw: socket.socket) -> None:
        with raw, contextlib.suppress(OSError):
            client = context.wrap_socket(raw, server_side=True) if context else raw
            with client:
                server.asked.append(_request(client))
                deed(client, stop)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                raw, _ = listener.accept()
                # So that nobody waits for who no longer reads.
                raw.settimeout(60)
                threads.append(threading.Thread(target=serve, args=(raw,), daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield server
    finally:
        stop.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (accepting, *threads):
            thread.join()


def _request(client: socket.socket) -> bytes:
    text = b""
    while b"\r\n\r\n" not in text:
        piece = client.recv(65_536)
        if not piece:
            raise ConnectionError("closed before it had asked")
        text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    lengths = [
        int(line.partition(b":")[2])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    ]
    while len(body) < sum(lengths):
        body += client.recv(65_536)
    return head + b"\r\n\r\n" + body


@dataclass(frozen=True)
class Authority:
    """Certificates in files."""

    ca: trustme.CA
    folder: Path

    @property
    def ca_file(self) -> str:
        path = self.folder / "ca.pem"
        path.write_bytes(self.ca.cert_pem.bytes())
        return str(path)

    def client_files(self, name: str = "client") -> dict[str, str]:
        leaf = self.ca.issue_cert(name)
        cert, key = self.folder / "client.pem", self.folder / "client.key"
        cert.write_bytes(b"".join(one.bytes() for one in leaf.cert_chain_pems))
        key.write_bytes(leaf.private_key_pem.bytes())
        return {"CERT_FILE": str(cert), "KEY_FILE": str(key)}

    def server(self, *, asks: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert("127.0.0.1").configure_cert(context)
        if asks:
            context.verify_mode = ssl.CERT_REQUIRED
            self.ca.configure_trust(context)
        return context
