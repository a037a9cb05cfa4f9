"""A real broker and ledger for the exporter's tests, and exporters beside them."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pika
import pytest
from prometheus_client.parser import text_string_to_metric_families

from common.http import Server
from demo.stack import Stack
from exporter.__main__ import connected, settings
from exporter.pages import routes

Labels = dict[str, str]


@dataclass(frozen=True)
class Scraped:
    """One scrape's samples."""

    samples: list[tuple[str, Labels, float]]
    took_s: float

    def value(self, metric: str, **labels: str) -> float | None:
        """The one sample with these labels, None when there is none."""
        found = [
            value
            for name, given, value in self.samples
            if name == metric and labels.items() <= given.items()
        ]
        assert len(found) <= 1, f"{metric}{labels}: {len(found)} samples"
        return found[0] if found else None

    @property
    def names(self) -> set[str]:
        """Every metric there is."""
        return {name for name, _, _ in self.samples}


class Probe:
    """An exporter in this process, scraped over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, timeout_s: float = 5.0) -> str:
        """The body of a page."""
        headers = {"X-Prometheus-Scrape-Timeout-Seconds": str(timeout_s)}
        request = urllib.request.Request(f"{self.url}{path}", headers=headers)
        # The client waits longer than it says: what is tested is who keeps the deadline.
        with urllib.request.urlopen(request, timeout=60) as response:
            body: bytes = response.read()
        return body.decode()

    def scrape(self, timeout_s: float = 5.0) -> Scraped:
        """Scrape with that deadline in the header."""
        began = time.monotonic()
        text = self.get("/metrics", timeout_s)
        took_s = time.monotonic() - began
        samples = [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]
        return Scraped(samples, took_s)

    def until(self, check: Any, what: str, timeout_s: float = 30.0) -> Scraped:
        """Scrape until `check(scraped)`; fails when it is not in time."""
        deadline = time.monotonic() + timeout_s
        while not check(scraped := self.scrape()):
            assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s"
            time.sleep(0.1)
        return scraped


@contextmanager
def exporter_for(stack: Stack, **variables: str) -> Iterator[Probe]:
    """An exporter of `stack` with these settings over the usual ones."""
    given = settings(
        {
            "RABBIT_URL": stack.rabbit_url,
            "REDIS_URL": stack.redis_url,
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": "0",
            **variables,
        }
    )
    exporter = connected(given)
    with Server(given, routes(exporter, given.scrape_timeout), name="exporter") as server:
        exporter.start()
        try:
            yield Probe(f"http://127.0.0.1:{server.port}")
        finally:
            exporter.close()


@contextmanager
def channel(stack: Stack, vhost: str = "/") -> Iterator[Any]:
    """A channel to the stack's broker."""
    parameters = pika.URLParameters(stack.rabbit_url)
    parameters.virtual_host = vhost
    connection = pika.BlockingConnection(parameters)
    try:
        yield connection.channel()
    finally:
        if connection.is_open:
            connection.close()


@pytest.fixture(scope="session")
def exporter_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("exporter") / "stack") as stack:
        yield stack.start("rabbitmq", "redis")


@pytest.fixture
def stack(exporter_stack: Stack) -> Iterator[Stack]:
    """Broker and ledger, with `video-queue` empty and the ledger blank."""
    with channel(exporter_stack) as amqp:
        amqp.queue_declare("video-queue", durable=True)
        amqp.queue_purge("video-queue")
    yield exporter_stack
    with channel(exporter_stack) as amqp:
        amqp.queue_delete("video-queue")
        amqp.queue_delete("video-queue.dead")
