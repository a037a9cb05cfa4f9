"""Exporters of a made-up load: `python -m tests.bench.many_exporters QUEUES WORKERS BEGAN PORT...`.

The pages are made by the exporter's own code. Each holds its share of the queues and is made anew
every ten seconds, as workers' heartbeats come, so that to serve one costs next to nothing.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from common.records import WorkerRecord, WorkerState
from exporter.depths import Depth
from exporter.families import LedgerView, ScrapeReadings, families
from exporter.members import Member
from exporter.selection import QueueName
from exporter.thresholds import AlertSettings
from tests.bench.scale_load import JOB_S, Load

_HEARTBEAT_S = 10.0


class Page(Collector):
    """What one of the exporters serves."""

    def __init__(self, load: Load, queues: range) -> None:
        self._load, self._queues = load, queues
        self._since: dict[str, tuple[WorkerState, datetime]] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self.text = b""

    def make(self) -> None:
        """Take the load of now."""
        self.text = generate_latest(self._registry)

    def describe(self) -> list[Family]:
        """Nothing before a page is made."""
        return []

    def collect(self) -> list[Family]:
        """All families that an exporter without a management API has of its sources."""
        load, now = self._load, time.time()
        names = {load.name(number) for number in self._queues}
        depths = {
            QueueName("/", load.name(number)): Depth(load.waiting(number, now), load.workers)
            for number in self._queues
        }
        fleet = [member for number in self._queues for member in self._crew(number, now)]
        counters = [load.totals(number, now) for number in self._queues]
        seen = ScrapeReadings(
            depths, None, LedgerView(fleet, counters), AlertSettings(), names, names
        )
        return list(families(seen))

    def _crew(self, number: int, now: float) -> list[Member]:
        load, busy = self._load, self._load.busy(number, now)
        return [
            self._worker(load.name(number), slot, slot < busy, now) for slot in range(load.workers)
        ]

    def _worker(self, queue: str, slot: int, busy: bool, now: float) -> Member:
        worker, at = f"{queue}.{slot}.w", datetime.fromtimestamp(now, UTC)
        state = WorkerState.BUSY if busy else WorkerState.IDLE
        before = self._since.get(worker)
        if before is None or before[0] is not state:
            self._since[worker] = (state, at)
        since = self._since[worker][1]
        record = WorkerRecord.model_construct(
            id=worker,
            queue=queue,
            vhost="/",
            status=state,
            status_since=since,
            last_seen=at,
            job_id=f"job-{worker}" if busy else None,
            progress=(now % JOB_S) / JOB_S,
            node=f"node-{slot % 10}",
            task=f"{worker}-task",
            slot=str(slot),
        )
        return Member(record, str(state), since)


def serve(page: Page, port: int) -> None:
    """Answer every GET with the page, on a thread of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = page.text
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main(arguments: list[str]) -> None:
    """Make the pages, serve them, and make one after the other anew."""
    queues, workers, began = int(arguments[0]), int(arguments[1]), float(arguments[2])
    ports = [int(port) for port in arguments[3:]]
    load = Load(queues, workers, began)
    cuts = [queues * share // len(ports) for share in range(len(ports) + 1)]
    pages = [Page(load, range(*cut)) for cut in itertools.pairwise(cuts)]
    for page, port in zip(pages, ports, strict=True):
        page.make()
        serve(page, port)
    while True:
        for page in pages:
            time.sleep(_HEARTBEAT_S / len(pages))
            page.make()


if __name__ == "__main__":
    main(sys.argv[1:])
