"""What exporter, scaler and gateway cost while nothing happens: one queue, ten idle workers.

Everything is real: ten worker containers on a private Swarm, scraped and looked at every second.
Beside it the same figures of the broker and of Prometheus in the same minute.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.rig import Rig

WORKERS = 10
OURS = ("exporter", "scaler", "gateway")
BESIDE = ("prometheus", "rabbitmq")
SETTLE_S = 20.0
CORE_BOUND, MB_BOUND = 5.0, 200.0


@dataclass(frozen=True)
class Cost:
    """Of one program over the time measured."""

    core_percent: float
    mb: float


def main() -> int:
    """Start, settle, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    seconds = parser.parse_args().seconds
    with (
        tempfile.TemporaryDirectory() as folder,
        Rig(Path(folder), low=WORKERS, high=WORKERS) as rig,
    ):
        rig.start()
        time.sleep(SETTLE_S)
        costs = measure(rig, seconds)
    report(costs)
    return 0


def measure(rig: Rig, seconds: float) -> dict[str, Cost]:
    """Processor time and resident memory of each program, children included."""
    processes = {name: family(rig.pid(name)) for name in (*OURS, *BESIDE)}
    before = {name: busy_s(members) for name, members in processes.items()}
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    return {
        name: Cost(
            100 * (busy_s(members) - before[name]) / took,
            sum(member.memory_info().rss for member in members) / 1e6,
        )
        for name, members in processes.items()
    }


def family(pid: int) -> list[psutil.Process]:
    """The process and its descendants."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def busy_s(members: list[psutil.Process]) -> float:
    """Seconds of processor time so far."""
    times = [member.cpu_times() for member in members]
    return sum(one.user + one.system for one in times)


def report(costs: dict[str, Cost]) -> None:
    """A table, and last one line of JSON."""
    ours = Cost(
        sum(costs[name].core_percent for name in OURS), sum(costs[name].mb for name in OURS)
    )
    rows = {**costs, "ours together": ours, "bound": Cost(CORE_BOUND, MB_BOUND)}
    lines = [f"{'':16}{'% of a core':>12}{'MB':>8}{'of bound':>10}{'of bound':>10}"]
    for name, cost in rows.items():
        shares = f"{cost.core_percent / CORE_BOUND:10.2f}{cost.mb / MB_BOUND:10.2f}"
        lines.append(f"{name:16}{cost.core_percent:12.2f}{cost.mb:8.1f}{shares}")
    sys.stdout.write("\n".join(lines) + "\n")
    keys = {"core_percent": round(ours.core_percent, 2), "mb": round(ours.mb, 1)}
    sys.stdout.write(json.dumps(keys) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
