"""Why and until when a worker leaves."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from worker.leaving import Leaving, noticed


def test_leaving_keeps_the_first_reason_and_the_earliest_deadline() -> None:
    leaving = Leaving()
    leaving.ask("drain: idle")
    assert leaving.asked
    assert not leaving.out_of_time
    leaving.ask("SIGTERM", grace_s=0.0)
    leaving.ask("the host goes", grace_s=1000.0)
    assert leaving.reason == "drain: idle"
    assert leaving.out_of_time


def test_a_notice_is_a_file_that_exists_or_a_url_that_answers(tmp_path: Path) -> None:
    assert not noticed(str(tmp_path / "notice"))
    assert noticed(str(tmp_path))
    codes = [404, 200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(codes.pop(0))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/"

        def serve() -> None:
            server.handle_request()
            server.handle_request()

        threading.Thread(target=serve).start()
        assert not noticed(url)
        assert noticed(url)
    assert not noticed(url)


def test_an_answer_that_is_no_http_is_no_notice() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        threading.Thread(target=serve).start()
        assert not noticed(f"http://127.0.0.1:{server.getsockname()[1]}/")
