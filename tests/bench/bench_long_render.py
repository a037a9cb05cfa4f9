"""A render of ten minutes with an AMQP heartbeat of 10 s: is the job ever handed out again?

The peer is a consumer that works on its connection's own thread, as a plain pika callback does.
`make bench-long-render ARGS="[--seconds S]"`; prints a table and, last, a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

from demo.stack import Stack
from tests.support.waiting import until
from tests.support.worker_fleet import Fleet, make_video

HEARTBEAT_S = 10
PLAIN = """
import sys, time, pika
url, queue, heartbeat = sys.argv[1:]
c = pika.BlockingConnection(pika.URLParameters(f"{url}?heartbeat={heartbeat}")).channel()
c.basic_qos(prefetch_count=1)
c.basic_consume(queue, lambda *a: time.sleep(3600))
c.start_consuming()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="length of the render")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name, Stack(Path(name) / "stack") as stack:
        stack.start("redis", "rabbitmq")
        fleet = Fleet(stack, Path(name), make_video(Path(name) / "small.mp4"))
        kept_s = watch_plain(stack, fleet, seconds)
        took_s = watch_ours(fleet, seconds)
        job_renders, lost = fleet.renders("long"), fleet.happened("no broker connection")
        announced, redelivered = len(fleet.announced()), redeliveries(stack, fleet.job_queue)
        fleet.stop()
    sys.stdout.write(f"{'':22}{'render':>9}{'kept its job':>14}{'heartbeats':>12}\n")
    for who, length, kept in (("this worker", took_s, took_s), ("plain callback", seconds, kept_s)):
        beats = kept / HEARTBEAT_S
        sys.stdout.write(f"{who:22}{length:>7.0f} s{kept:>12.0f} s{beats:>12.1f}\n")
    figures = {
        "render_s": round(took_s, 1),
        "plain_kept_s": round(kept_s, 1),
        "kept_ratio": round(took_s / kept_s, 1),
        "redelivered": redelivered,
        "renders": job_renders,
        "announced": announced,
        "connections_lost": lost,
    }
    sys.stdout.write(json.dumps(figures) + "\n")


def watch_plain(stack: Stack, fleet: Fleet, seconds: float) -> float:
    """For how long the broker leaves the job with a consumer that can't send heartbeats."""
    queue = f"{fleet.job_queue}-plain"
    with fleet.channel() as channel:
        channel.queue_declare(queue, durable=True)
        channel.basic_publish("", queue, b"job")
    url = stack.rabbit_url.rstrip("/") + "/%2F"
    command = [sys.executable, "-c", PLAIN, url, queue, str(HEARTBEAT_S)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        until(lambda: fleet.depth(queue) == 0, what="the plain consumer has the job")
        began = time.monotonic()
        while fleet.depth(queue) == 0 and time.monotonic() - began < seconds:
            time.sleep(0.2)
        process.kill()
        return time.monotonic() - began


def watch_ours(fleet: Fleet, seconds: float) -> float:
    """How long the job took, its way from the queue to `done`; a line a minute meanwhile."""
    fleet.start(AMQP_HEARTBEAT=str(HEARTBEAT_S))
    fleet.ready()
    fleet.submit(f"sleep {seconds}", "long")
    until(lambda: fleet.renders("long"))
    began = said = time.monotonic()
    while fleet.status("long") != "done":
        time.sleep(0.2)
        if time.monotonic() - said >= 60:
            said = time.monotonic()
            sys.stderr.write(f"{said - began:.0f} of {seconds:.0f} s, {fleet.status('long')}\n")
        if time.monotonic() - began > seconds + 60:
            sys.exit(f"not done after {seconds + 60:.0f} s: {fleet.status('long')}")
    return time.monotonic() - began


def redeliveries(stack: Stack, queue: str) -> int:
    """By the broker's own count, once that has come as far as the acknowledgement."""
    url = f"{stack.management_url}/api/queues/%2F/{queue}"

    def counted() -> dict[str, int] | None:
        found = requests.get(url, auth=("guest", "guest"), timeout=10).json()
        stats: dict[str, int] = found.get("message_stats", {})
        return stats if stats.get("ack") else None

    return int(until(counted, what="the broker has counted").get("redeliver", 0))


if __name__ == "__main__":
    main()
