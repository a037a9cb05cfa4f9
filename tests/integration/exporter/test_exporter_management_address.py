"""A management URL that is not the management API's: down with a reason, never "no queues"."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from demo.stack import Stack
from exporter.management import Management
from exporter.selection import QueueName
from exporter.sources import SourceError
from tests.integration.exporter.conftest import exporter_for

pytestmark = pytest.mark.integration
UP = "autoscaler_source_up"
QUEUE = QueueName("/", "video-queue")
MANY = [QUEUE, *(QueueName("/", f"q{number}") for number in range(600))]
VERY_MANY = [QUEUE, *(QueueName("/", f"q{number}") for number in range(1200))]


@pytest.mark.parametrize("queues", ["video-queue", "video-*"])
@pytest.mark.parametrize("wrong", ["path", "port"])
def test_an_address_that_is_not_the_apis_reads_as_down(
    stack: Stack, queues: str, wrong: str
) -> None:
    url = stack.management_url.replace("://", "://guest:guest@") + "/wrong"
    if wrong == "port":
        url = f"http://127.0.0.1:{stack.plugin_port}"
    source = "management" if queues == "video-queue" else "listing"
    with exporter_for(stack, MANAGEMENT_URL=url, QUEUES=queues) as probe:
        seen = probe.scrape()
    assert seen.value(UP, source=source) == 0
    assert seen.value(UP, source="ledger") == 1


@pytest.mark.parametrize("path", ["", "/"])
def test_queues_that_are_not_there_are_no_wrong_address(stack: Stack, path: str) -> None:
    url = stack.management_url.replace("://", "://guest:guest@") + path
    with exporter_for(stack, MANAGEMENT_URL=url, QUEUES="nowhere") as probe:
        assert probe.scrape().value(UP, source="management") == 1
    with exporter_for(stack, MANAGEMENT_URL=url, QUEUES="nowhere-*") as probe:
        assert probe.scrape().value(UP, source="listing") == 1


@contextmanager
def answering(status: int, body: object, **headers: str) -> Iterator[Management]:
    """A client of a server that answers everything with that."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        client = Management(f"http://127.0.0.1:{server.server_port}")
        yield client
        client.close()
        server.shutdown()


def page(**fields: object) -> dict[str, object]:
    return {"items": [], "page_count": 1, "filtered_count": 0, **fields}


ROW = {"name": "video-queue", "vhost": "/"}
NO_LISTING: list[tuple[int, object, str]] = [
    (404, b"not found", "MANAGEMENT_URL"),
    (400, b"", "MANAGEMENT_URL"),
    (401, b"", "HTTP 401"),
    (301, b"", "redirect to http://127.0.0.1:9/; give the URL"),
    (200, b"<html></html>", "no JSON"),
    (200, b"[" * 100_000, "no JSON"),
    (200, b"\xff", "no JSON"),
    (200, {}, "no list"),
    (200, None, "no list"),
    (200, 7, "no list"),
    (200, [1], "other than queues"),
    (200, [{"name": 1, "vhost": "/"}], "other than queues"),
    (200, [{"title": "x"}], "other than queues"),
]


@pytest.mark.parametrize(("status", "body", "reason"), NO_LISTING)
def test_what_is_no_listing_is_no_empty_listing(status: int, body: object, reason: str) -> None:
    with answering(status, body, Location="http://127.0.0.1:9/") as client:
        with pytest.raises(SourceError, match=reason):
            client.names(5)
        with pytest.raises(SourceError, match=reason):
            client.details(VERY_MANY, ["*"], 5)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        *(case for case in NO_LISTING if case[0] != 200),
        (200, b"<html></html>", "no JSON"),
        (200, [], "MANAGEMENT_URL"),
        (200, {}, "MANAGEMENT_URL"),
        (200, {"name": "another"}, "MANAGEMENT_URL"),
    ],
)
def test_what_is_no_queue_is_no_missing_queue(status: int, body: object, reason: str) -> None:
    elsewhere = {"Location": "http://127.0.0.1:9/"}
    with (
        answering(status, body, **elsewhere) as client,
        pytest.raises(SourceError, match=reason),
    ):
        client.details([QUEUE], ["*"], 5)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], "no pages"),
        ({}, "no pages"),
        (page(page_count="2"), "no pages"),
        (page(filtered_count=None), "no pages"),
        (page(filtered_count=601), "empty page"),
        (page(filtered_count=601, items=None), "empty page"),
        (page(items={}), "no list"),
        (page(filtered_count=601, items=[3]), "other than queues"),
    ],
)
def test_pages_that_contradict_themselves(body: object, reason: str) -> None:
    with answering(200, body) as client, pytest.raises(SourceError, match=reason):
        client.details(MANY, ["*"], 5)


@pytest.mark.parametrize("value", ["7", True, -1, 2**64, 1.5, None, [], {}])
def test_a_field_of_another_type_is_unknown(value: object) -> None:
    fields = ("messages_unacknowledged", "head_message_timestamp", "memory")
    row = {**ROW, **dict.fromkeys(fields, value), "message_stats": {"ack": value}}
    with answering(200, row) as client:
        (known,) = client.details([QUEUE], ["*"], 5).values()
    assert (known.unacked, known.head_timestamp, known.memory_bytes) == (None, None, None)
    assert known.totals == {}


def test_totals_of_another_type_are_unknown() -> None:
    with answering(200, {**ROW, "message_stats": [1]}) as client:
        (known,) = client.details([QUEUE], ["*"], 5).values()
    assert known.totals == {}


def test_names_that_are_no_text_are_left_out_of_the_listing() -> None:
    body = b'[{"name": "\\ud800", "vhost": "/"}, {"name": "video-queue", "vhost": "/"}]'
    with answering(200, body) as client:
        assert client.names(5) == [QUEUE]
