"""A small TCP proxy that can cut, hold up and spoil what goes through it."""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import threading
import time
from enum import StrEnum

_WAKE_S = 0.2
_DRIP_S = 0.25
_PIECE = 65_536


class Spoiled(StrEnum):
    """What a proxy makes of the part behind it."""

    AWAY = "away"
    """Nobody answers, not even to refuse: new connections are never made, old ones are silent."""
    REFUSED = "refused"
    HANGS = "hangs"
    """Takes connections and what is sent, and never answers."""
    SLOW = "slow"
    """Answers a byte at a time."""
    GARBAGE = "garbage"
    """Answers bytes that are of no protocol, and ends the connection."""
    TOO_LARGE = "too large"
    """Answers with an end that never comes."""


class FaultProxy:
    """Forwards connections to a port on loopback, or to a Unix socket. Use as a context.

    `listener` may be of another network namespace; else it is a free port on loopback.
    """

    def __init__(
        self,
        target: int | str,
        listener: socket.socket | None = None,
        *,
        endless: bytes = b"",
    ) -> None:
        """`endless` begins an answer of the protocol that would be very long."""
        self._target = target
        self._listener = listener or _listener()
        self._listener.settimeout(_WAKE_S)
        self.port: int = self._listener.getsockname()[1]
        self._endless = endless
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._fillers: list[socket.socket] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._frozen = threading.Event()
        self._fault: Spoiled | None = None
        self._fatal: bytes | None = None
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()
        self._drop_fillers()
        self._cut_all()

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

    def spoil(self, fault: Spoiled) -> None:
        """Be so from now on, to connections that there are as to new ones."""
        if fault is self._fault:
            return
        self._fault = fault
        match fault:
            case Spoiled.AWAY:
                self.freeze()
                self._fill()
            case Spoiled.HANGS:
                self.freeze()
            case Spoiled.REFUSED:
                # Not closed: the port stays this proxy's.
                with contextlib.suppress(OSError):
                    self._listener.shutdown(socket.SHUT_RDWR)
                self._cut_all()

    def mend(self) -> None:
        """Pass on as if nothing had been; what hung goes on, what was spoiled is cut."""
        fault, self._fault = self._fault, None
        self._listener.listen(128)
        self._drop_fillers()
        if fault in (Spoiled.GARBAGE, Spoiled.TOO_LARGE):
            self._cut_all()
        self.thaw()

    def _fill(self) -> None:
        """Have the kernel drop whoever knocks: nobody is taken from the queue, which is full."""
        self._listener.listen(0)
        for _ in range(2):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self._fillers.append(filler)

    def _drop_fillers(self) -> None:
        while self._fillers:
            self._fillers.pop().close()

    def _cut_all(self) -> None:
        while self.cut():
            pass

    def _accept(self) -> None:
        while not self._stop.is_set():
            if self._fault in (Spoiled.AWAY, Spoiled.REFUSED):
                self._stop.wait(_WAKE_S / 4)
                continue
            try:
                client, _ = self._listener.accept()
            except OSError:  # nobody came, or it does not listen
                self._stop.wait(0.01)
                continue
            try:
                server = self._upstream()
            except OSError:
                client.close()
                continue
            pair = (client, server)
            with self._lock:
                self._pairs.append(pair)
            threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _upstream(self) -> socket.socket:
        if isinstance(self._target, int):
            return socket.create_connection(("127.0.0.1", self._target), 2)
        server = socket.socket(socket.AF_UNIX)
        server.settimeout(2)
        server.connect(self._target)
        return server

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            for end in other:
                selector.register(end, selectors.EVENT_READ)
            while not self._stop.is_set():
                if self._frozen.is_set():
                    self._stop.wait(0.05)
                    continue
                for key, _ in selector.select(_WAKE_S):
                    end = client if key.fileobj is client else server
                    data = end.recv(_PIECE)
                    if not data:
                        raise ConnectionResetError
                    if end is client:
                        self._spoilt_answer(client)
                        other[end].sendall(data)
                    else:
                        self._send(client, data)
                    if self._fatal and end is client and self._fatal in data:
                        self._fatal = None
                        raise ConnectionResetError
        with self._lock:
            if (client, server) in self._pairs:
                self._pairs.remove((client, server))
        for end in other:
            end.close()

    def _spoilt_answer(self, client: socket.socket) -> None:
        """Answer nonsense in the part's place, where it is to; the connection is over then."""
        if self._fault is Spoiled.GARBAGE:
            client.sendall(random.Random(0).randbytes(512))
            raise ConnectionResetError
        if self._fault is Spoiled.TOO_LARGE:
            client.sendall(self._endless)
            while self._fault is Spoiled.TOO_LARGE and not self._stop.is_set():
                client.sendall(b"x" * _PIECE)
                time.sleep(0.002)
            raise ConnectionResetError

    def _send(self, client: socket.socket, data: bytes) -> None:
        """Pass an answer on, a byte at a time while the part is slow."""
        for at in range(len(data)):
            if self._fault is not Spoiled.SLOW or self._stop.is_set():
                client.sendall(data[at:])
                return
            client.sendall(data[at : at + 1])
            self._stop.wait(_DRIP_S)


def _listener() -> socket.socket:
    """On a free port, which stays its own when it stops listening and listens again."""
    with socket.create_server(("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
    return socket.create_server(("127.0.0.1", port))
