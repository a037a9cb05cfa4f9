"""The simulator beside reality: five minutes of jobs through real parts, and simulated.

    make bench-simulator ARGS="[--minutes 5]"

RabbitMQ, Redis, Prometheus, the exporter, the scaler and the workers are real; only the renderer
is a stand-in that sleeps for the job's duration, and a worker begins with a sleep of ten seconds in
place of its container's making: the shorter start-up of bench-policy. Worker-seconds are counted
from the processes that exist; waits are the workers' own, to the millisecond, from the ledger. The
simulator is given the same arrivals, the durations and the start-up as they were measured, and the
loop's own interval and age of data. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pika
import psutil

from scaler.prometheus.client import Prometheus
from scaler.simulate.arena import arena, run
from scaler.simulate.delayed_view import ViewSettings
from scaler.simulate.peers import ours
from scaler.simulate.score import Score
from scaler.simulate.trace import Trace
from scaler.simulate.world import WorldSettings
from tests.support.loop import Loop, dialogue
from tests.support.worker_fleet import LAUNCH, make_video
from worker.job_status import Status

MAXIMUM = 10
LOOP_S = 1.0
LOOK_S = 0.1
SEED = 5
MAKING = "import time; time.sleep(10.0); "
"""A container's making. Without it a start is nothing but work for two cores that all starts share,
four times as long for eight at once as for one, which no worker with a node of its own meets."""


@dataclass
class Seen:
    """What happened in reality; times on the monotonic clock."""

    sent: dict[str, float] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    done: dict[str, float] = field(default_factory=dict)
    worker_s: float = 0.0
    wait_mean_s: float = 0.0

    def trace(self) -> Trace:
        """The jobs as they came, with the time that each really took."""
        ids = sorted(self.sent, key=self.sent.__getitem__)
        first = self.sent[ids[0]]
        return Trace(
            "five minutes of reality",
            np.array([self.sent[job] - first for job in ids]),
            np.array([self.done[job] - self.begun[job] for job in ids]),
        )


def burst(minutes: float) -> list[tuple[float, str, float]]:
    """(when, id, duration) of jobs: a trickle, a burst of ten, a stream, a burst, a trickle."""
    rng = random.Random(SEED)
    span = minutes * 60
    times = sorted(rng.uniform(0, span) for _ in range(int(span / 9)))
    times += [span * 0.2] * 8 + [span * 0.55] * 6
    return [(at, f"sim-{n}", rng.uniform(8, 25)) for n, at in enumerate(sorted(times))]


def live(loop: Loop, jobs: list[tuple[float, str, float]]) -> Seen:
    """Send the jobs as they fall due and watch until the last is done."""
    seen = Seen()
    scaler = loop.stack.parts["scaler"].process
    assert scaler is not None
    parent = psutil.Process(scaler.pid)
    pending = list(jobs)
    began = before = time.monotonic()
    while pending or len(seen.done) < len(seen.sent):
        now = time.monotonic()
        # The jobs that are due; with them one message less is in the way of the next look.
        while pending and now - began >= pending[0][0]:
            _, job_id, duration = pending.pop(0)
            job = {**dialogue(job_id), "title": f"sleep {duration:.2f}"}
            seen.sent[job_id] = _send(loop, job)
        if seen.sent:
            seen.worker_s += (now - before) * _workers(parent)
        before = now
        _look(loop, seen)
        time.sleep(max(0.0, LOOK_S - (time.monotonic() - now)))
    (waits,) = [counters.wait for counters in loop.ledger.counters()]
    seen.wait_mean_s = waits.sum / waits.buckets[-1][1]
    return seen


def _send(loop: Loop, job: dict[str, Any]) -> float:
    """When the job went, connected before: a connection's making is nobody's wait."""
    with loop.broker.channel() as channel:
        now, now_ms = time.monotonic(), round(time.time() * 1000)
        properties = pika.BasicProperties(delivery_mode=2, headers={"timestamp_in_ms": now_ms})
        channel.basic_publish("", "video-queue", json.dumps(job).encode(), properties)
    return now


def _look(loop: Loop, seen: Seen) -> None:
    for job_id in list(seen.sent):
        if job_id in seen.done:
            continue
        status = loop.status(job_id)
        now = time.monotonic()
        if status and status.status in (Status.RENDERING, Status.DONE):
            seen.begun.setdefault(job_id, now)
        if status and status.status == Status.DONE:
            seen.done[job_id] = now


def _workers(parent: psutil.Process) -> int:
    """Worker processes of the scaler that exist."""
    return sum(_lives(child) for child in parent.children())


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def simulated(seen: Seen, startup_s: float, age_s: float, recorded_s: float) -> tuple[Score, float]:
    """(score, mean wait in all) of the same jobs in the simulator."""
    given = arena(seen.trace(), 1, MAXIMUM, WorldSettings(startup_s))
    view = ViewSettings(LOOP_S, data_age_s=age_s, recorded_s=recorded_s)
    scores = [run(given, ours(given, tick_s=LOOP_S), view=view, seed=seed) for seed in range(5)]
    middle = sorted(scores, key=lambda score: score.paid_s)[2]
    always = float((given.pool.starts - given.trace.arrivals).mean())
    return middle, fmean(score.wait_mean_s for score in scores) + always


def measured(loop: Loop) -> tuple[float, float]:
    """(start-up, age of the data) as the scaler saw them, in seconds."""
    prometheus = Prometheus(loop.stack.prometheus_url)
    try:
        age = prometheus.vector(
            'avg(avg_over_time(autoscaler_signal_age_seconds{signal="waiting"}[5m]))'
        )
        counters = loop.ledger.counters()
        startup = sum(each.startup.sum for each in counters)
        return startup / sum(each.startup.count for each in counters), age[0].value
    finally:
        prometheus.close()


def main() -> None:
    """Live it, simulate it, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="simulator-") as name:
        folder = Path(name)
        video = make_video(folder / "small.mp4")
        environment = {
            "WORKER_COMMAND": f"{shlex.quote(sys.executable)} -c {shlex.quote(MAKING + LAUNCH)}",
            "STANDIN_VIDEO": str(video),
            "MAX_WORKERS": str(MAXIMUM),
        }
        loop = Loop(folder / "stack", environment)
        with loop.stack:
            started = time.monotonic()
            loop.start()
            seen = live(loop, burst(flags.minutes))
            startup_s, age_s = measured(loop)
    recorded_s = min(seen.sent.values()) - started
    score, wait_s = simulated(seen, startup_s, age_s, recorded_s)
    cost_ratio = score.paid_s / seen.worker_s
    wait_ratio = wait_s / seen.wait_mean_s
    sys.stdout.write(
        f"{len(seen.sent)} jobs, start-up {startup_s:.2f} s, data {age_s:.2f} s old\n"
        f"{'':12}{'worker-seconds':>16}{'mean wait s':>14}\n"
        f"{'reality':12}{seen.worker_s:16.0f}{seen.wait_mean_s:14.2f}\n"
        f"{'simulator':12}{score.paid_s:16.0f}{wait_s:14.2f}\n"
        f"{'ratio':12}{cost_ratio:16.3f}{wait_ratio:14.3f}   (within 0.85 to 1.15 wanted)\n"
    )
    result = {
        "jobs": len(seen.sent),
        "startup_s": round(startup_s, 3),
        "data_age_s": round(age_s, 3),
        "worker_s_real": round(seen.worker_s, 1),
        "worker_s_simulated": round(score.paid_s, 1),
        "wait_mean_s_real": round(seen.wait_mean_s, 3),
        "wait_mean_s_simulated": round(wait_s, 3),
        "worker_s_ratio": round(cost_ratio, 3),
        "wait_ratio": round(wait_ratio, 3),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
