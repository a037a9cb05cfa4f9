"""The loop at 1,000 targets: its start, its cycles, what they cost, and how that grows.

Prometheus with the shipped rules, Redis, and `python -m scaler run` are real; everything is scraped
every five seconds, as is advised for so many queues; the orchestrator is the dry run. Made up are
the exporters (tests/bench/many_exporters.py) and an hour of past in Prometheus, which the scaler,
begun without a history, has to read. Beside the figures stands what KEDA would do for as many
queues, by its defaults.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import psutil
import yaml

from demo.ports import free_ports
from demo.processes import Part, StartError, wait_until
from demo.stack import Stack, answers
from tests.bench.bench_idle import busy_s, family
from tests.bench.scale_load import SCRAPED_S, Load, write_past

MANY, FEW, LARGE = (1000, 10), (100, 10), (10, 1000)
PAST_S, SETTLE_S, START_PATIENCE_S = 3600, 20.0, 900.0
# An exporter of more queues would need longer for its page than Prometheus waits.
EXPORTERS = 10
BOUNDS = {
    "start_s": 5.0,
    "cycle_p95_s": 0.8,
    "core_percent": 60.0,
    "mb": 300.0,
    "queries_per_cycle": 20.0,
    "cycle_ten_p95_s": 0.3,
    "growth": 11.0,
}
# KEDA's pollingInterval and the rhythm of the HPA, by their defaults.
POLL_S, HPA_S = 30.0, 15.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one case."""

    start_s: float
    cycles: Sequence[float]
    """Seconds of each cycle, sorted."""
    cpu_s: float
    """Processor time of the scaler a cycle."""
    core_percent: float
    mb: float
    """Most resident memory at any second from the start on."""
    queries: float
    """Requests to Prometheus a cycle."""
    beside: Mapping[str, float]
    """Percent of a core that others took in the same time, by name."""

    def share(self, share: float) -> float:
        """So long or shorter took that share of the cycles."""
        if not self.cycles:
            return math.nan
        return self.cycles[min(len(self.cycles) - 1, math.ceil(share * len(self.cycles)) - 1)]


class ScaleStack(Stack):
    """Prometheus with a past, Redis, made-up exporters and the scaler over them."""

    def __init__(self, folder: Path, targets: int, workers: int) -> None:
        super().__init__(folder)
        self.load = Load.running_since_yesterday(targets, workers, time.time())
        self._pages = free_ports(min(targets, EXPORTERS))

    def begin(self) -> None:
        """All but the scaler, with every series that it needs."""
        self.start("redis")
        numbers = [self.load.queues, self.load.workers, self.load.began, *self._pages]
        self.spawn(
            "exporter",
            [sys.executable, "-m", "tests.bench.many_exporters", *map(str, numbers)],
            ready_url=f"http://127.0.0.1:{self._pages[-1]}/metrics",
            timeout_s=120,
        )
        self._lay_past()
        self.start("prometheus")
        for series in ("queue:jobs_demand:sum", "queue:job_arrivals:rate5m", "autoscaler_workers"):
            wait_until(
                partial(self._has, series),
                timeout_s=180,
                what=f"{series} of every queue",
                every_s=1,
            )

    def _has(self, series: str) -> bool:
        """Whether there is one of every queue."""
        return self.number(f"count(count by (queue) ({series}))") == self.load.queues

    def scaler(self) -> Part:
        """Begin it, without a history."""
        settings = {
            **self.environment(),
            "HTTP_PORT": str(self.scaler_port),
            "SCALING_CONFIG": str(self._configuration()),
            "HISTORY_PATH": str(self.folder / "history"),
            "LOG_LEVEL": "debug",
        }
        return self.spawn("scaler", [sys.executable, "-m", "scaler", "run"], settings)

    def number(self, query: str) -> float:
        """What a query gives; 0 where it gives nothing."""
        found = self.asked(query)
        return float(found[0]["value"][1]) if found else 0.0

    def asked(self, query: str) -> list[dict[str, Any]]:
        """The result of an instant query."""
        arguments = urlencode({"query": query})
        try:
            return list(
                json.loads(get(f"{self.prometheus_url}/api/v1/query?{arguments}"))["data"]["result"]
            )
        except (URLError, TimeoutError):  # one that replays its log answers 503
            return []

    def requests(self) -> float:
        """Queries that Prometheus has been asked so far."""
        wanted = ('handler="/api/v1/query"', 'handler="/api/v1/query_range"')
        lines = get(f"{self.prometheus_url}/metrics").decode().splitlines()
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith("prometheus_http_requests_total{") and any(w in line for w in wanted)
        )

    def _lay_past(self) -> None:
        text, blocks = self.folder / "past.txt", self._data("prometheus") / "data"
        # It ends when it will be there.
        end = time.time() + 8 + 0.07 * self.load.queues
        samples = write_past(self.load, text, end, PAST_S)
        say(f"{samples / 1e6:.1f} million samples of past")
        command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "-q"]
        subprocess.run([*command, str(text), str(blocks)], check=True, stdout=subprocess.DEVNULL)
        text.unlink()
        early_s = end - time.time()
        say(f"the past lies there {abs(early_s):.0f} s {'early' if early_s > 0 else 'late'}")
        time.sleep(max(0.0, early_s))

    def _configuration(self) -> Path:
        names = [self.load.name(number) for number in range(self.load.queues)]
        content = {
            "orchestrator": "dry_run",
            "scaling": {
                "min_workers": 1,
                "max_workers": 2 * self.load.workers,
                "metrics_collection_interval": 1.0,
            },
            "targets": [{"name": name, "queue": name, "service": name} for name in names],
        }
        path = self.folder / "scaling-config.yml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    def _scrape_config(self) -> dict[str, Any]:
        """The shipped one, less the parts that are not there."""
        config = super()._scrape_config()
        del config["alerting"]
        kept = ("exporter", "scaler", "prometheus")
        config["scrape_configs"] = [
            scrape for scrape in config["scrape_configs"] if scrape["job_name"] in kept
        ]
        targets = [f"127.0.0.1:{port}" for port in self._pages]
        config["scrape_configs"][0]["static_configs"] = [{"targets": targets}]
        for scrape in config["scrape_configs"]:
            # As docs/operating.md has it for so many: the rules over it cost Prometheus a fifth.
            scrape["scrape_interval"] = f"{SCRAPED_S}s"
            scrape.pop("scrape_timeout", None)
        return config


@dataclass
class Meter:
    """The scaler's process, followed."""

    part: Part
    most: float = 0.0
    members: list[psutil.Process] = field(default_factory=list)

    def look(self) -> None:
        """Note what it takes now. Raises StartError when it has ended."""
        if self.part.exit_code() is not None or self.part.process is None:
            raise StartError(f"the scaler has ended:\n{self.part.tail()}")
        self.members = family(self.part.process.pid)
        self.most = max(self.most, sum(each.memory_info().rss for each in self.members) / 1e6)

    def wait(self, seconds: float) -> None:
        """Look every second, so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.look()
            time.sleep(min(1.0, left))


def measured(targets: int, workers: int, seconds: float) -> Figures:
    """One case on parts of its own."""
    say(f"{targets} targets x {workers} workers")
    with (
        tempfile.TemporaryDirectory() as folder,
        ScaleStack(Path(folder) / "s", targets, workers) as stack,
    ):
        stack.begin()
        began = time.monotonic()
        meter = Meter(stack.scaler())
        start_s = started(stack, meter, began)
        say(f"ready after {start_s:.1f} s")
        meter.wait(SETTLE_S)
        return over(stack, meter, start_s, seconds)


def started(stack: ScaleStack, meter: Meter, began: float) -> float:
    """Seconds until the scaler was ready, with a decision for every target."""
    while not answers(f"{stack.scaler_url}/-/ready"):
        meter.look()
        if time.monotonic() - began > START_PATIENCE_S:
            raise StartError(f"not ready within {START_PATIENCE_S:.0f} s:\n{meter.part.tail()}")
        time.sleep(0.05)
    took = time.monotonic() - began
    shown = get(f"{stack.scaler_url}/metrics").decode().count("\nautoscaler_target_replicas{")
    if shown != stack.load.queues:
        raise StartError(f"ready with {shown} of {stack.load.queues} targets decided")
    return took


def over(stack: ScaleStack, meter: Meter, start_s: float, seconds: float) -> Figures:
    """Follow it for so long."""
    others = {name: stack.parts[name].process for name in ("prometheus", "exporter")}
    families = {name: family(process.pid) for name, process in others.items() if process}
    meter.look()
    scaler, skip = meter.members, meter.part.log.stat().st_size
    cpu, requests, began = busy_s(scaler), stack.requests(), time.monotonic()
    before = {name: busy_s(members) for name, members in families.items()}
    meter.wait(seconds)
    cpu, requests, took = (
        busy_s(scaler) - cpu,
        stack.requests() - requests,
        time.monotonic() - began,
    )
    beside = {name: 100 * (busy_s(m) - before[name]) / took for name, m in families.items()}
    cycles = cycle_times(meter.part.log, skip)
    say(f"{len(cycles)} cycles in {took:.0f} s")
    count = len(cycles)
    return Figures(
        start_s, sorted(cycles), cpu / count, 100 * cpu / took, meter.most, requests / count, beside
    )


def cycle_times(log: Path, skip: int) -> list[float]:
    """Seconds of each cycle that the scaler's log tells of behind its first `skip` bytes. Raises
    StartError where it tells of none."""
    with log.open("rb") as file:
        file.seek(skip)
        lines = [json.loads(line) for line in file if b'"cycle ended"' in line]
    if not lines:
        raise StartError("the scaler has ended no cycle")
    return [float(line["seconds"]) for line in lines]


def report(cases: Mapping[tuple[int, int], Figures]) -> None:
    """Tables, then one line of JSON."""
    out = sys.stdout.write
    out(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; a cycle every second\n")
    heads = ("start s", "p50 s", "p95 s", "ms CPU/cycle", "% core", "MB", "queries/cycle")
    beside = ("% Prometheus", "% exporters")
    out(f"{'targets x workers':20}" + "".join(f"{head:>14}" for head in (*heads, *beside)) + "\n")
    for (targets, workers), case in cases.items():
        numbers = (
            case.start_s,
            case.share(0.5),
            case.share(0.95),
            1000 * case.cpu_s,
            case.core_percent,
            case.mb,
            case.queries,
            *case.beside.values(),
        )
        out(
            f"{f'{targets} x {workers}':20}"
            + "".join(f"{number:14.3f}" for number in numbers)
            + "\n"
        )
    for targets, _ in cases:
        out(keda(targets))
    result = keys(cases)
    for name, value in result.items():
        if name in BOUNDS:
            out(f"{name:20}{value:10.3f} of {BOUNDS[name]:g}: {value / BOUNDS[name]:.2f}\n")
    out(json.dumps({name: round(value, 3) for name, value in result.items()}) + "\n")


def keys(cases: Mapping[tuple[int, int], Figures]) -> dict[str, float]:
    """What the bounds are for; of a single case what it has."""
    first = next(iter(cases.values()))
    found = {
        "start_s": first.start_s,
        "cycle_p95_s": first.share(0.95),
        "core_percent": first.core_percent,
        "mb": first.mb,
        "queries_per_cycle": first.queries,
    }
    if MANY in cases and FEW in cases and LARGE in cases:
        found["cycle_ten_p95_s"] = cases[LARGE].share(0.95)
        found["growth"] = growth(cases[MANY], cases[FEW])
    return found


def growth(many: Figures, few: Figures) -> float:
    """By how much ten times the targets cost more a cycle: the larger of processor time and
    median duration."""
    cpu, took = many.cpu_s / few.cpu_s, many.share(0.5) / few.share(0.5)
    sys.stdout.write(f"growth from 100 to 1,000: CPU a cycle x {cpu:.2f}, cycle p50 x {took:.2f}\n")
    return max(cpu, took)


def keda(queues: int) -> str:
    """What KEDA asks for as many queues, one call a trigger, and how old what it decides on is."""
    calls = queues / POLL_S + queues / HPA_S
    return (
        f"KEDA with {queues} queues: {calls:.1f} calls/s (each polled every {POLL_S:.0f} s and read"
        f" by its HPA every {HPA_S:.0f} s); a burst is up to {HPA_S:.0f} s old when it is seen, at"
        f" 0 replicas up to {POLL_S:.0f} s\n"
    )


def get(url: str) -> bytes:
    with urlopen(url, timeout=60) as response:
        body: bytes = response.read()
    return body


def say(text: str) -> None:
    """To those who wait."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def main() -> int:
    """Every case, or the one asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=int, help="one case of so many targets alone")
    parser.add_argument("--workers", type=int, default=10, help="of each of them")
    parser.add_argument("--seconds", type=float, default=60, help="to measure, after a while")
    given = parser.parse_args()
    cases = [(given.targets, given.workers)] if given.targets else [MANY, FEW, LARGE]
    report({(many, each): measured(many, each, given.seconds) for many, each in cases})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
