"""A small TCP proxy that can cut what goes through it."""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import threading


class FaultProxy:
    """Forwards connections to a port on loopback. Use as a context.

    `listener` may be of another network namespace; else it is a free port on loopback.
    """

    def __init__(self, target_port: int, listener: socket.socket | None = None) -> None:
        self._target_port = target_port
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.2)
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._frozen = threading.Event()
        self._fatal: bytes | None = None
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()
        while self.cut():
            pass

    def cut(self, rng: random.Random | None = None) -> bool:
        """Cut one connection, whatever is on its way; False when there is none."""
        with self._lock:
            if not self._pairs:
                return False
            pair = self._pairs.pop((rng or random.Random(0)).randrange(len(self._pairs)))
        for end in pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return True

    def cut_after(self, words: bytes) -> None:
        """Cut a connection once, right after its client has sent `words`, before any answer."""
        self._fatal = words

    def freeze(self) -> None:
        """Pass nothing on any more, while connections seem to stay."""
        self._frozen.set()

    def thaw(self) -> None:
        """Pass on again."""
        self._frozen.clear()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target_port), 2)
            except OSError:
                client.close()
                continue
            pair = (client, server)
            with self._lock:
                self._pairs.append(pair)
            threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            for end in other:
                selector.register(end, selectors.EVENT_READ)
            while not self._stop.is_set():
                if self._frozen.is_set():
                    self._stop.wait(0.05)
                    continue
                for key, _ in selector.select(0.2):
                    end = client if key.fileobj is client else server
                    data = end.recv(65_536)
                    if not data:
                        raise ConnectionResetError
                    other[end].sendall(data)
                    if self._fatal and end is client and self._fatal in data:
                        self._fatal = None
                        raise ConnectionResetError
        with self._lock:
            if (client, server) in self._pairs:
                self._pairs.remove((client, server))
        for end in other:
            end.close()
