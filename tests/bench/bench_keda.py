"""The external scaler at KEDA's default rhythm, and at its peak beside a bare echo server.

10,000 ScaledObjects with 1,000 distinct queries, a third each of GetMetricSpec, GetMetrics and
IsActive, against a real Prometheus. Calls are sent by the clock, whether or not earlier ones have
come back, and their time is counted from when they were due. Then the same calls, 64 at a time, as
fast as they go, and after that to a grpc.aio server that gives back the bytes it got.
"""

from __future__ import annotations

import argparse
import asyncio
import http.server
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import psutil
from prometheus_client import CollectorRegistry

from common.logs import configure
from common.settings import load
from demo.ports import free_ports
from protos import externalscaler_pb2 as pb
from scaler.external.decisions import DecidedTarget
from scaler.external.grpc_server import ExternalScalerServer
from scaler.external.settings import ExternalScalerSettings

OBJECTS = 10_000
QUERIES = 1_000
RATE = 2_000
SECONDS = 20
PEAK_SECONDS = 3
ROUNDS = 5
PARALLEL = 64
METHODS = ("GetMetricSpec", "GetMetrics", "IsActive")
Call = tuple[str, bytes]


@dataclass
class Load:
    """What the client saw."""

    calls: int
    seconds: float
    errors: Counter[str]
    latencies_ms: list[float]

    @property
    def rate(self) -> float:
        return self.calls / self.seconds

    def quantile(self, share: float) -> float:
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def requests() -> list[Call]:
    """Each method for each ScaledObject, in random order, as bytes on the wire."""
    calls: list[Call] = []
    for number in range(OBJECTS):
        query = f'bench_jobs{{queue="q{number % QUERIES}"}}'
        ref = pb.ScaledObjectRef(
            name=f"worker-{number}",
            namespace=f"team-{number % 50}",
            scalerMetadata={
                "scalerAddress": "scaler.autoscaler:6000",
                "query": query,
                "threshold": "5",
                "metricName": "jobs",
            },
        )
        metrics = pb.GetMetricsRequest(scaledObjectRef=ref, metricName="jobs")
        for method in METHODS:
            message = metrics if method == "GetMetrics" else ref
            calls.append((f"/externalscaler.ExternalScaler/{method}", message.SerializeToString()))
    random.Random(7).shuffle(calls)
    return calls


class Client:
    """One connection, as KEDA has it."""

    def __init__(self, port: int, paths: Sequence[str]) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._calls: dict[str, Any] = {path: self._channel.unary_unary(path) for path in paths}
        self.errors: Counter[str] = Counter()
        self.latencies_ms: list[float] = []

    async def call(self, path: str, message: bytes, due: float) -> None:
        try:
            await self._calls[path](message)
        except grpc.aio.AioRpcError as error:
            self.errors[f"{error.code().name}: {error.details()}"] += 1
        self.latencies_ms.append((time.perf_counter() - due) * 1e3)

    async def close(self) -> None:
        await self._channel.close()


async def by_the_clock(port: int, calls: Sequence[Call], rate: float, seconds: float) -> Load:
    """Calls at their time, however long the answers take."""
    client = Client(port, sorted({path for path, _ in calls}))
    running: set[asyncio.Task[None]] = set()
    begun = time.perf_counter()
    total = int(rate * seconds)
    for number in range(total):
        due = begun + number / rate
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(client.call(*calls[number % len(calls)], due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    took = time.perf_counter() - begun
    await client.close()
    return Load(total, took, client.errors, client.latencies_ms)


async def at_the_peak(port: int, calls: Sequence[Call], seconds: float) -> Load:
    """`PARALLEL` calls at any time."""
    client = Client(port, sorted({path for path, _ in calls}))
    begun = time.perf_counter()
    turn = iter(range(1_000_000_000))

    async def one() -> None:
        while time.perf_counter() - begun < seconds:
            path, message = calls[next(turn) % len(calls)]
            await client.call(path, message, time.perf_counter())

    await asyncio.gather(*(one() for _ in range(PARALLEL)))
    took = time.perf_counter() - begun
    await client.close()
    return Load(len(client.latencies_ms), took, client.errors, client.latencies_ms)


# The servers, each a process of its own.


class NoDecisions:
    """A configuration without targets."""

    def names(self) -> Collection[str]:
        return ()

    def has(self, target_name: str) -> bool:
        return False

    def latest(self, target_name: str) -> DecidedTarget | None:
        return None

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        return lambda: None


def serve_scaler(prometheus_url: str) -> None:
    configure("scaler")
    here = {"grpc_host": "127.0.0.1", "grpc_port": 0, "grpc_max_objects": OBJECTS}
    settings = load(ExternalScalerSettings, base=here)
    server = ExternalScalerServer(
        settings, NoDecisions(), prometheus_url, CollectorRegistry()
    ).start()
    _announce(server.port)
    server.stop()


def serve_echo() -> None:
    class Echo(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            return grpc.unary_unary_rpc_method_handler(self._echo)

        async def _echo(self, request: bytes, _: Any) -> bytes:
            return request

    async def main() -> None:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Echo(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        await asyncio.to_thread(_announce, port)
        await server.stop(1)

    asyncio.run(main())


def _announce(port: int) -> None:
    """Say where, then serve until the parent closes our input."""
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    sys.stdin.read()


@contextmanager
def spawned(*arguments: str) -> Iterator[tuple[int, psutil.Process]]:
    with subprocess.Popen(
        [sys.executable, __file__, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield port, psutil.Process(process.pid)
        assert process.stdin is not None
        process.stdin.close()


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    """A real one, that scrapes a thousand series."""
    port, target = free_ports(2)
    page = "".join(f'bench_jobs{{queue="q{n}"}} {n % 97}\n' for n in range(QUERIES)).encode()

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
            pass

    pages = http.server.ThreadingHTTPServer(("127.0.0.1", target), Page)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    config = folder / "prometheus.yml"
    config.write_text(
        "scrape_configs: [{job_name: bench, scrape_interval: 5s, "
        f'static_configs: [{{targets: ["127.0.0.1:{target}"]}}]}}]\n'
    )
    with subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/api/v1/query?query=count(bench_jobs)", f'"{QUERIES}"')
        try:
            yield url
        finally:
            process.terminate()
            pages.shutdown()


def _wait_for(url: str, text: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urlopen(url) as answer:
                if text in answer.read().decode():
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"{url} did not come to say {text}")


def queries_received(url: str) -> int:
    """How many instant queries Prometheus says that it has answered."""
    with urlopen(f"{url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in lines
        if line.startswith("prometheus_http_requests_total") and '"/api/v1/query"' in line
    )


def cpu_us(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system) * 1e6


async def measure(url: str, seconds: float, peak_seconds: float) -> dict[str, float]:
    """Everything, in one event loop: gRPC's client does not get over a second one."""
    calls = requests()
    tick_s = ExternalScalerSettings().grpc_tick_s
    with spawned("--serve", url) as (port, process), spawned("--echo") as (echo_port, echo_process):
        await by_the_clock(port, calls, RATE, len(calls) / RATE)  # each trigger is read once
        before, begun = queries_received(url), time.time()
        steady = await by_the_clock(port, calls, RATE, seconds)
        ticks = time.time() // tick_s - begun // tick_s + 1
        per_tick = (queries_received(url) - before) / (QUERIES * ticks)
        # In turns, so that what else the machine does falls on both.
        peaks: list[Load] = []
        echoes: list[Load] = []
        spent = {"scaler": 0.0, "echo": 0.0}
        for _ in range(ROUNDS):
            for name, at, into, of in (
                ("scaler", port, peaks, process),
                ("echo", echo_port, echoes, echo_process),
            ):
                spent[name] -= cpu_us(of)
                into.append(await at_the_peak(at, calls, peak_seconds))
                spent[name] += cpu_us(of)
        memory_mb = process.memory_info().rss / 1e6
    cpu = {"scaler": spent["scaler"] / calls_of(peaks), "echo": spent["echo"] / calls_of(echoes)}
    errors = sum((load.errors for load in (steady, *peaks)), Counter[str]())
    ratios = sorted(peak.rate / echo.rate for peak, echo in zip(peaks, echoes, strict=True))
    report(steady, _middle(peaks), _middle(echoes), ratios, cpu)
    sys.stdout.write(f"{OBJECTS} ScaledObjects, {QUERIES} queries, server {memory_mb:.0f} MB\n")
    for reason, count in errors.most_common(5):
        sys.stdout.write(f"{count} × {reason}\n")
    return {
        "p99_ms": round(steady.quantile(0.99), 2),
        "upstream_per_query_tick": round(per_tick, 3),
        "errors": errors.total(),
        "peak_ratio_echo": round(ratios[len(ratios) // 2], 3),
    }


def calls_of(loads: Sequence[Load]) -> int:
    return sum(load.calls for load in loads)


def _middle(loads: Sequence[Load]) -> Load:
    return sorted(loads, key=lambda load: load.rate)[len(loads) // 2]


def main(seconds: float, peak_seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder, prometheus(Path(folder)) as url:
        result = asyncio.run(measure(url, seconds, peak_seconds))
    sys.stdout.write(json.dumps(result) + "\n")


def report(
    steady: Load, peak: Load, echo: Load, ratios: Sequence[float], cpu: dict[str, float]
) -> None:
    extra = cpu["scaler"] / cpu["echo"]
    rows = [
        ("", "calls/s", "p50 ms", "p99 ms", "server CPU µs/call"),
        ("steady", *_figures(steady), ""),
        ("peak", *_figures(peak), f"{cpu['scaler']:.0f}"),
        ("bare echo", *_figures(echo), f"{cpu['echo']:.0f}"),
        ("peak / echo", f"{ratios[len(ratios) // 2]:.2f}", "", "", f"{extra:.2f}"),
    ]
    for row in rows:
        sys.stdout.write("".join(f"{cell:>14}" for cell in row[:4]) + f"{row[4]:>20}\n")
    sys.stdout.write(f"peak / echo, each round: {', '.join(f'{r:.2f}' for r in ratios)}\n")


def _figures(load: Load) -> tuple[str, str, str]:
    return f"{load.rate:.0f}", f"{load.quantile(0.5):.1f}", f"{load.quantile(0.99):.1f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--peak-seconds", type=float, default=PEAK_SECONDS)
    parser.add_argument("--serve", metavar="PROMETHEUS_URL")
    parser.add_argument("--echo", action="store_true")
    chosen = parser.parse_args()
    if chosen.serve:
        serve_scaler(chosen.serve)
    elif chosen.echo:
        serve_echo()
    else:
        main(chosen.seconds, chosen.peak_seconds)
