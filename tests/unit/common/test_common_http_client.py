"""Connections are kept, and given up when they have been closed meanwhile."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from common.http_client import HttpClient, OutgoingError, UnreachableError

SOUND = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Keeper:
    """Answers on connections that it keeps; `after` closes one after so many answers, as if at
    the moment at which the next question is on its way."""

    def __init__(self, listener: socket.socket, after: int) -> None:
        self.port = int(listener.getsockname()[1])
        self.connections = 0
        self.questions: list[str] = []
        self._listener = listener
        self._after = after

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            answered = 0
            while question := client.recv(65_536):
                self.questions.append(question.decode())
                if answered == self._after:
                    return
                answered += 1
                client.sendall(SOUND)


@contextmanager
def keeper(after: int = 1_000) -> Iterator[Keeper]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Keeper(listener, after)
        threading.Thread(target=made.accept, daemon=True).start()
        yield made
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def client_of(made: Keeper, path: str = "") -> HttpClient:
    return HttpClient("it", f"http://127.0.0.1:{made.port}{path}", timeout_s=30)


def test_a_connection_is_used_again() -> None:
    with keeper() as made:
        client = client_of(made, "/base/")
        for _ in range(5):
            answer = client.request("GET", "/a?b=c")
            assert (answer.status, answer.body) == (200, b"ok")
        assert made.connections == 1
        assert made.questions[0].startswith("GET /base/a?b=c HTTP/1.1\r\n")
        assert "Accept-Encoding: identity\r\n" in made.questions[0]
        client.close()
        client.request("GET", "/")
        assert made.connections == 2


def test_many_threads_share_a_client() -> None:
    with keeper() as made, ThreadPoolExecutor(8) as threads:
        client = client_of(made)
        bodies = threads.map(lambda _: client.request("GET", "/").body, range(200))
        assert set(bodies) == {b"ok"}
        assert made.connections <= 8


@pytest.mark.parametrize(("method", "repeatable"), [("GET", None), ("PATCH", None), ("POST", True)])
def test_what_may_be_repeated_is_where_a_kept_connection_was_closed(
    method: str, repeatable: bool | None
) -> None:
    with keeper(after=1) as made:
        client = client_of(made)
        for _ in range(3):
            assert client.request(method, "/", repeatable=repeatable).body == b"ok"
        assert made.connections == 3


def test_what_may_not_is_asked_once() -> None:
    with keeper(after=1) as made:
        client = client_of(made)
        client.request("POST", "/")
        with pytest.raises(OutgoingError, match="closed the connection before it had answered"):
            client.request("POST", "/")
        assert len(made.questions) == 2


def test_a_new_connection_that_is_closed_is_not_tried_twice() -> None:
    with keeper(after=0) as made:
        with pytest.raises(OutgoingError, match="closed the connection"):
            client_of(made).request("GET", "/")
        assert made.connections == 1


def test_a_connection_on_which_more_came_than_was_asked_for_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        seen: list[bytes] = []

        def serve() -> None:
            for _ in range(2):
                client, _ = listener.accept()
                seen.append(client.recv(65_536))
                # Taken for the answer to the next question, it would be a lie.
                client.sendall(SOUND + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nlie")
                kept.append(client)

        kept: list[socket.socket] = []
        threading.Thread(target=serve, daemon=True).start()
        client = HttpClient("it", f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=30)
        assert client.request("GET", "/").body == b"ok"
        assert client.request("GET", "/").body == b"ok"
        assert len(seen) == 2
        for each in kept:
            each.close()


def test_the_next_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with keeper() as made:

        def both(*_: object, **__: object) -> list[object]:
            kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*kind, ("127.0.0.1", 9)), (*kind, ("127.0.0.1", made.port))]

        monkeypatch.setattr("common.dialing.socket.getaddrinfo", both)
        client = HttpClient("it", "http://service.example", timeout_s=30)
        assert client.request("GET", "/").body == b"ok"


def test_a_name_that_is_none_is_not_reachable() -> None:
    client = HttpClient("it", f"http://{'a' * 64}.example", timeout_s=30)
    with pytest.raises(UnreachableError, match="is not reachable: "):
        client.request("GET", "/")


def test_no_time_left_is_no_question() -> None:
    with keeper() as made:
        with pytest.raises(OutgoingError, match="did not answer within 0 s"):
            client_of(made).request("GET", "/", timeout_s=0)
        assert made.connections == 0
