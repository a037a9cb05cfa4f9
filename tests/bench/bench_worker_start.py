"""How long a worker takes from process start to consuming, and how much it holds while idle.

The bound on time is a process of the same interpreter that imports `pika`, connects and consumes,
and nothing else. `make bench-worker-start ARGS="[-n N]"`; prints a table and, last, a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from demo.stack import Stack
from tests.support.waiting import until
from tests.support.worker_fleet import Fleet

BARE = """
import sys, pika
c = pika.BlockingConnection(pika.URLParameters(sys.argv[1])).channel()
c.queue_declare(sys.argv[2], passive=True)
c.basic_consume(sys.argv[2], lambda *a: None)
print("consuming", flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=10)
    rounds = parser.parse_args().n
    with tempfile.TemporaryDirectory() as name, Stack(Path(name) / "stack") as stack:
        stack.start("redis", "rabbitmq")
        fleet = Fleet(stack, Path(name), Path(name))
        starts, bare, idle = [], [], []
        for number in range(rounds):
            fleet.start(f"w{number}", real=True)
            starts.append(fleet.ready(f"w{number}").startup_seconds or 0.0)
            time.sleep(1.0)
            idle.append(resident_mb(fleet.processes[f"w{number}"].pid))
            fleet.signal(f"w{number}", 15)
            fleet.exit_code(f"w{number}")
            bare.append(bare_start(stack.rabbit_url, fleet.job_queue))
        until(lambda: not fleet.ledger.workers())
    start, least = statistics.median(starts), statistics.median(bare)
    sys.stdout.write(f"start to consuming, median of {rounds}: {start:.3f} s ")
    sys.stdout.write(f"(from {min(starts):.3f} to {max(starts):.3f})\n")
    sys.stdout.write(f"pika alone, the same way:      {least:.3f} s, ratio {start / least:.2f}\n")
    sys.stdout.write(f"resident while idle, highest:  {max(idle):.1f} MB\n")
    sys.stdout.write(
        json.dumps({"start_s": round(start, 3), "idle_mb": round(max(idle), 1)}) + "\n"
    )


def resident_mb(pid: int) -> float:
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return float(sum(p.memory_info().rss for p in family)) / 1e6


def bare_start(url: str, queue: str) -> float:
    began = time.monotonic()
    command = [sys.executable, "-c", BARE, url, queue]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        if process.stdout:
            process.stdout.readline()
        return time.monotonic() - began


if __name__ == "__main__":
    main()
