"""500 push triggers on one server: first message, the way of a change, memory, lost messages.

The server and a real Prometheus are processes of their own. Each client has a connection of its
own and holds StreamIsActive and StreamMetricSpec, as KEDA's external-push does. What changes is a
number that Prometheus scrapes every second; a change counts as being in Prometheus once a query
shows it. Then the server closes every connection after about 30 s while the number goes up and
down; a client has lost something when it does not come to know the last state.
"""

from __future__ import annotations

import argparse
import asyncio
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import psutil

from demo.stack import Stack
from protos import externalscaler_pb2 as pb
from tests.support import externalscaler_pb2_grpc

CLIENTS = 500
AGE_S = 30.0
METADATA = {"query": "bench_jobs", "threshold": "1"}


class Page:
    """The one number, as a page for Prometheus."""

    def __init__(self, port: int) -> None:
        self.value = 1
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f"bench_jobs {page.value}\n".encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()


class Client:
    """One external-push trigger: both streams, opened again when they end."""

    def __init__(self, port: int, number: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options)
        self._stub: Any = externalscaler_pb2_grpc.ExternalScalerStub(self._channel)
        self._ref = pb.ScaledObjectRef(
            name=f"so{number}", namespace="bench", scalerMetadata=METADATA
        )
        self.opened = time.perf_counter()
        self.first: dict[str, float] = {}
        self.state: bool | None = None
        self.changed_at = 0.0
        self.clean_ends = 0
        self.errors = 0
        self._tasks = [
            asyncio.create_task(self._hold(name)) for name in ("StreamIsActive", "StreamMetricSpec")
        ]

    async def _hold(self, name: str) -> None:
        while True:
            try:
                async for message in getattr(self._stub, name)(self._ref):
                    self._take(name, message)
                self.clean_ends += 1
            except grpc.aio.AioRpcError:
                self.errors += 1
            await asyncio.sleep(2)  # as KEDA does

    def _take(self, name: str, message: Any) -> None:
        now = time.perf_counter()
        self.first.setdefault(name, now - self.opened)
        if name == "StreamIsActive" and message.result is not self.state:
            self.state, self.changed_at = message.result, now

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._channel.close()


@contextmanager
def server(prometheus_url: str, **settings: str) -> Iterator[tuple[int, psutil.Process]]:
    command = [sys.executable, str(Path(__file__).with_name("bench_keda.py"))]
    with subprocess.Popen(
        [*command, "--serve", prometheus_url],
        env={**os.environ, **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield int(process.stdout.readline()), psutil.Process(process.pid)
        process.stdin.close()


def in_prometheus(url: str, value: int) -> bool:
    with urlopen(f"{url}/api/v1/query?query=bench_jobs") as answer:
        return f'"{value}"]' in answer.read().decode()


async def until_in_prometheus(url: str, page: Page, value: int) -> float:
    """Change the number; the moment at which Prometheus shows it."""
    page.value = value
    while not await asyncio.to_thread(in_prometheus, url, value):
        await asyncio.sleep(0.02)
    return time.perf_counter()


async def all_know(clients: Sequence[Client], state: bool, timeout_s: float) -> int:
    """How many do not know it in time."""
    deadline = time.perf_counter() + timeout_s
    while time.perf_counter() < deadline:
        if all(client.state is state for client in clients):
            return 0
        await asyncio.sleep(0.02)
    return sum(client.state is not state for client in clients)


async def steady(url: str, page: Page) -> dict[str, float]:
    """First messages, changes, memory."""
    with server(url, GRPC_MAX_CONNECTION_AGE_S="0") as (port, process):
        clients = [Client(port, number) for number in range(CLIENTS)]
        while any(len(client.first) < 2 for client in clients):
            await asyncio.sleep(0.05)
        ways = []
        for value in (0, 3, 0, 5):
            shown = await until_in_prometheus(url, page, value)
            assert await all_know(clients, value > 0, 30) == 0
            ways.append(max(client.changed_at for client in clients) - shown)
            await asyncio.sleep(1)
        memory_mb = process.memory_info().rss / 1e6
        await asyncio.gather(*(client.close() for client in clients))
    return {
        "first_message_s": round(max(max(client.first.values()) for client in clients), 3),
        "change_s": round(max(ways), 3),
        "memory_mb": round(memory_mb, 1),
    }


async def closing(url: str, page: Page, rounds: int) -> dict[str, float]:
    """Connections that are closed under the clients."""
    with server(url, GRPC_MAX_CONNECTION_AGE_S=str(AGE_S)) as (port, _):
        clients = [Client(port, number) for number in range(CLIENTS)]
        lost = 0
        begun = time.perf_counter()
        value = 0
        while time.perf_counter() - begun < AGE_S * rounds:
            await until_in_prometheus(url, page, value)
            lost += await all_know(clients, value > 0, 15)
            value = 0 if value else 4
            await asyncio.sleep(2)
        result: dict[str, float] = {
            "lost": lost,
            "stream_errors": sum(client.errors for client in clients),
            "reconnects": sum(client.clean_ends for client in clients),
        }
        await asyncio.gather(*(client.close() for client in clients))
    return result


async def measure(url: str, page: Page, rounds: int) -> dict[str, float]:
    """Everything, in one event loop: gRPC's client does not get over a second one."""
    result = await steady(url, page)
    page.value = 1
    return result | await closing(url, page, rounds)


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder) / "stack") as stack:
        page = Page(stack.exporter_port)
        stack.start("prometheus")
        url = stack.prometheus_url
        while not in_prometheus(url, 1):
            time.sleep(0.2)
        result = asyncio.run(measure(url, page, rounds))
    bounds = {"first_message_s": 1, "change_s": 2, "memory_mb": 250, "lost": 0, "stream_errors": 0}
    sys.stdout.write(f"{CLIENTS} clients, {2 * CLIENTS} streams\n")
    for name, value in result.items():
        bound = f"at most {bounds[name]}" if name in bounds else ""
        sys.stdout.write(f"{name:>18} {value:>10}  {bound}\n")
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of 30 s with closed connections")
    main(parser.parse_args().rounds)
