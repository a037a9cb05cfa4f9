"""What a scrape costs among ten thousand queues, beside one plain GET /api/queues of the same run.

Everything is real: the broker, the queues, the exporter as its own process with every source on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pika

from demo.ports import free_ports
from demo.stack import Stack

QUEUES = 10_000
SCALED = 1_000
LAG_ROUNDS = 5
FRESH_ROUNDS = 50
AUTH = {"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q="}


def main() -> int:
    """Declare, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="scrapes of each kind")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder) / "stack") as stack:
        stack.start("rabbitmq", "redis")
        declare(stack)
        one = measured(stack, "job-00007", rounds)
        thousand = measured(stack, "job-00*", rounds)
        # Turn by turn, so that whatever else the machine does falls on both alike.
        plain: list[float] = []
        every = measured(stack, "job-*", max(5, rounds // 3), beside=plain)
        api = median(plain)
        lags, right = freshness(stack)
    report((one, thousand, every), api, lags, right)
    return 0


@dataclass(frozen=True)
class Cost:
    """One kind of scrape."""

    queues: int
    samples: int
    seconds: list[float]
    peak_mb: float


def declare(stack: Stack) -> None:
    """Ten thousand durable queues with some messages, and time for the broker to settle."""
    connection = pika.BlockingConnection(pika.URLParameters(stack.rabbit_url))
    channel = connection.channel()
    began = time.monotonic()
    for number in range(QUEUES):
        name = f"job-{number:05d}"
        channel.queue_declare(name, durable=True)
        if number % 10 == 0:
            channel.basic_publish("", name, b"{}")
    connection.close()
    sys.stderr.write(f"declared {QUEUES} queues in {time.monotonic() - began:.0f} s\n")
    time.sleep(10)


def measured(stack: Stack, pattern: str, rounds: int, beside: list[float] | None = None) -> Cost:
    """Scrape an exporter of these queues, all sources on; `beside` takes the times of a plain
    GET /api/queues after each."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    name = f"exporter-{pattern}"
    env = {
        **stack.environment(),
        "MANAGEMENT_URL": stack.management_url.replace("://", "://guest:guest@"),
        "QUEUES": pattern,
        "HTTP_PORT": str(port),
    }
    command = [sys.executable, "-m", "exporter"]
    part = stack.spawn(name, command, env, ready_url=f"{url}/-/ready")
    text = get(f"{url}/metrics").decode()  # the first one connects
    check(text)
    time.sleep(3)
    seconds = []
    for _ in range(rounds):
        seconds.append(timed(lambda: get(f"{url}/metrics")))
        if beside is not None:
            beside.append(timed(lambda: get(f"{stack.management_url}/api/queues", AUTH)))
        time.sleep(0.3)
    assert part.process is not None
    status = Path(f"/proc/{part.process.pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    part.stop()
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    queues = sum(line.startswith("rabbitmq_queue_messages_ready{") for line in samples)
    return Cost(queues, len(samples), sorted(seconds), peak / 1024)


def check(text: str) -> None:
    """A scrape that lacks a source would be no measurement."""
    down = [line for line in text.splitlines() if line.startswith("autoscaler_source_up")]
    assert down
    assert all(line.endswith(" 1.0") for line in down), down


def freshness(stack: Stack) -> tuple[dict[str, float], int]:
    """Seconds from a publish to the new depth, by each way of asking; medians. And how many of
    FRESH_ROUNDS publishes the exporter's very next scrape told of."""
    (port,) = free_ports(1)
    env = {**stack.environment(), "QUEUES": "fresh", "HTTP_PORT": str(port)}
    url = f"http://127.0.0.1:{port}"
    connection = pika.BlockingConnection(pika.URLParameters(stack.rabbit_url))
    channel = connection.channel()
    channel.queue_declare("fresh")
    channel.confirm_delivery()
    part = stack.spawn("fresh", [sys.executable, "-m", "exporter"], env, f"{url}/-/ready")
    plugin = f"http://127.0.0.1:{stack.plugin_port}/metrics/detailed?family=queue_coarse_metrics"
    api = f"{stack.management_url}/api/queues/%2F/fresh"

    def ours() -> int:
        return depth_in(get(f"{url}/metrics").decode(), "rabbitmq_queue_messages_ready{")

    def plugins() -> int:
        return depth_in(get(plugin).decode(), "rabbitmq_detailed_queue_messages_ready{")

    def apis() -> int:
        return int(json.loads(get(api, AUTH)).get("messages_ready") or 0)

    right = 0
    for published in range(1, FRESH_ROUNDS + 1):
        channel.basic_publish("", "fresh", b"{}")
        right += ours() == published
    found: dict[str, list[float]] = {"exporter": [], "plugin": [], "management": []}
    count = FRESH_ROUNDS
    for _ in range(LAG_ROUNDS):
        for name, look in (("exporter", ours), ("plugin", plugins), ("management", apis)):
            channel.basic_publish("", "fresh", b"{}")
            count += 1
            began = time.monotonic()
            while look() != count:
                time.sleep(0.02)
            found[name].append(time.monotonic() - began)
    part.stop()
    connection.close()
    lags = {name: median(values) for name, values in found.items()}
    return lags, right


def depth_in(text: str, prefix: str) -> int:
    """The value of the series of queue `fresh`."""
    for line in text.splitlines():
        if line.startswith(prefix) and 'queue="fresh"' in line:
            return round(float(line.rpartition(" ")[2]))
    return -1


def get(url: str, headers: dict[str, str] | None = None) -> bytes:
    request = urllib.request.Request(url, headers=headers or {})
    request.add_header("X-Prometheus-Scrape-Timeout-Seconds", "30")
    with urllib.request.urlopen(request, timeout=60) as response:
        body: bytes = response.read()
    return body


def timed(action: Callable[[], Any]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def report(costs: tuple[Cost, Cost, Cost], api: float, lags: dict[str, float], right: int) -> None:
    """The table, then one line of JSON."""
    one, thousand, every = costs
    line = "{:<28}{:>8}{:>9}{:>10}{:>10}{:>9}{:>9}".format
    out = sys.stdout.write
    load = os.getloadavg()[0]
    out(f"{os.cpu_count()} cores, load {load:.1f}; {QUEUES} queues, all sources on\n")
    out(line("scrape of", "queues", "samples", "median s", "worst s", "x API", "peak MB") + "\n")
    for name, cost in zip(("one queue", "1,000 queues", "all queues"), costs, strict=True):
        middle, worst = median(cost.seconds), cost.seconds[-1]
        numbers = (f"{middle:.4f}", f"{worst:.4f}", f"{middle / api:.3f}", f"{cost.peak_mb:.0f}")
        out(line(name, cost.queues, cost.samples, *numbers) + "\n")
    out(line("plain GET /api/queues", QUEUES, "", f"{api:.4f}", "", "1.000", "") + "\n")
    for name, lag in lags.items():
        out(f"a publish is seen by the {name} after {lag:.3f} s (median of {LAG_ROUNDS})\n")
    out(f"right at the very next scrape: {right} of {FRESH_ROUNDS}\n")
    result = {
        "one_ms": round(median(one.seconds) * 1000, 2),
        "thousand_s": round(median(thousand.seconds), 3),
        "all_ratio_api": round(median(every.seconds) / api, 3),
        "peak_mb": round(max(one.peak_mb, thousand.peak_mb, every.peak_mb), 1),
        "api_s": round(api, 3),
        "fresh_right": right,
        "fresh_exporter_s": round(lags["exporter"], 3),
        "fresh_plugin_s": round(lags["plugin"], 3),
        "fresh_management_s": round(lags["management"], 3),
    }
    out(json.dumps(result) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
