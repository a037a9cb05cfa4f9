"""Jobs through real parts, and the very same jobs through the simulator: what benches share.

RabbitMQ, Redis, Prometheus, the exporter, the scaler and the workers are real; only the renderer
is a stand-in that sleeps for the job's duration, and a worker begins with a sleep in place of its
container's making. Worker-seconds are counted from the processes that exist; waits are the workers'
own, to the millisecond, from the ledger. The simulator is given the same arrivals, the durations
and the start-up as they were measured, and the loop's own interval and age of data.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import pika
import psutil

from scaler.loop.history_file import HistoryFile
from scaler.policy.decision import Applied, ProposalKind
from scaler.policy.explain import done
from scaler.prometheus.client import Prometheus
from scaler.simulate.arena import arena, run
from scaler.simulate.delayed_view import ViewSettings
from scaler.simulate.peers import ours
from scaler.simulate.trace import Trace
from scaler.simulate.world import WorldSettings
from tests.support.loop import TARGET, Loop, dialogue
from tests.support.worker_fleet import LAUNCH, make_video
from worker.job_status import Status

MAXIMUM = 10
LOOP_S = 1.0
LOOK_S = 0.1
STANDBY = done(Applied(standby=True))
_PHASES = 5
_PATIENCE_S = 300.0


class PacedJob(NamedTuple):
    """A job that is sent when it is due."""

    due_s: float
    """After the begin."""
    id: str
    duration_s: float


@dataclass
class LiveRun:
    """What happened in reality; times in epoch seconds."""

    began: float
    """From the scaler's first decision on, there is one worker at first."""
    sent: dict[str, float] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    done: dict[str, float] = field(default_factory=dict)
    worker_s: float = 0.0
    wait_mean_s: float = 0.0

    def trace(self) -> Trace:
        """The jobs as they came, with the time that each really took, from the begin on: the
        simulated scaler sees the same quiet before the first one."""
        ids = sorted(self.sent, key=self.sent.__getitem__)
        return Trace(
            "reality",
            np.array([self.sent[job] - self.began for job in ids]),
            np.array([self.done[job] - self.begun[job] for job in ids]),
        )


class Conditions(NamedTuple):
    """What the simulator has to be told of reality."""

    startup_s: float
    age_s: float
    """Of the data."""
    outage: tuple[float, float] | None = None
    """When the scaler did not act, in seconds after the begin."""


def stand_in(folder: Path, making_s: float) -> Loop:
    """A loop of which only the rendering, and for so long a container's making, is a stand-in.

    Without the latter a start is nothing but work for two cores that all starts share, four times
    as long for eight at once as for one, which no worker with a node of its own meets.
    """
    launch = f"import time; time.sleep({making_s}); {LAUNCH}"
    environment = {
        "WORKER_COMMAND": f"{shlex.quote(sys.executable)} -c {shlex.quote(launch)}",
        "STANDIN_VIDEO": str(make_video(folder / "small.mp4")),
        "MAX_WORKERS": str(MAXIMUM),
    }
    return Loop(folder / "stack", environment)


def live(
    loop: Loop, jobs: Sequence[PacedJob], deed: tuple[float, Callable[[], None]] | None = None
) -> LiveRun:
    """Send the jobs, given in their order, to the loop at rest as they fall due, and watch until
    the last is done; the `deed` is done so many seconds after the begin.

    Raises TimeoutError for jobs that nobody does.
    """
    paced = time.time()
    seen = LiveRun(began=decisions(loop.stack.folder / "scaler")[0].at)
    seen.worker_s = paced - seen.began
    pending = list(jobs)
    before = paced
    while pending or len(seen.done) < len(seen.sent):
        now = time.time()
        if now - paced > jobs[-1].due_s + _PATIENCE_S:
            raise TimeoutError(f"not done: {sorted(seen.sent.keys() - seen.done.keys())}")
        if deed is not None and now - paced >= deed[0]:
            deed[1]()
            deed = None
        # The jobs that are due; with them one message less is in the way of the next look.
        while pending and now - paced >= pending[0].due_s:
            job = pending.pop(0)
            body = {**dialogue(job.id), "title": f"sleep {job.duration_s:.2f}"}
            seen.sent[job.id] = _send(loop, body)
        seen.worker_s += (now - before) * _workers(loop.stack.folder / "workers" / TARGET)
        before = now
        _look(loop, seen)
        time.sleep(max(0.0, LOOK_S - (time.time() - now)))
    (waits,) = [counters.wait for counters in loop.ledger.counters()]
    seen.wait_mean_s = waits.sum / waits.buckets[-1][1]
    return seen


def _send(loop: Loop, job: dict[str, Any]) -> float:
    """When the job went, connected before: a connection's making is nobody's wait."""
    with loop.broker.channel() as channel:
        now = time.time()
        headers = {"timestamp_in_ms": round(now * 1000)}
        properties = pika.BasicProperties(delivery_mode=2, headers=headers)
        channel.basic_publish("", "video-queue", json.dumps(job).encode(), properties)
    return now


def _look(loop: Loop, seen: LiveRun) -> None:
    for job_id in list(seen.sent):
        if job_id in seen.done:
            continue
        status = loop.status(job_id)
        now = time.time()
        if status and status.status in (Status.RENDERING, Status.DONE):
            seen.begun.setdefault(job_id, now)
        if status and status.status == Status.DONE:
            seen.done[job_id] = now


def _workers(notes: Path) -> int:
    """Worker processes that exist, whichever scaler started them."""
    return sum(map(_lives, notes.glob("*.json")))


def _lives(note: Path) -> bool:
    with contextlib.suppress(OSError, psutil.NoSuchProcess):
        process = psutil.Process(json.loads(note.read_bytes())["pid"])
        return process.status() != psutil.STATUS_ZOMBIE
    return False


class Decided(NamedTuple):
    """A number that was decided, and from when on."""

    at: float
    """Epoch seconds."""
    replicas: int
    regressed: bool
    """Whether demand was expected to go back to what is usual."""
    standby: bool
    """Whether nothing was done about it, as the scaler did not lead."""


def decisions(history: Path) -> list[Decided]:
    """The decisions that a scaler kept in that folder: each by which anything changed."""
    query = "SELECT at, content FROM decisions WHERE target = ? ORDER BY at"
    rows = HistoryFile(history).read(query, (TARGET,))
    found = [(at, json.loads(content)) for at, content in rows]
    return [
        Decided(
            at,
            content["replicas"],
            regressed=ProposalKind.USUAL in content["proposals"],
            standby=STANDBY in content["applied"],
        )
        for at, content in found
        if content["replicas"] is not None
    ]


def measured(loop: Loop) -> Conditions:
    """As the scaler saw them."""
    prometheus = Prometheus(loop.stack.prometheus_url)
    try:
        age = prometheus.vector(
            'avg(avg_over_time(autoscaler_signal_age_seconds{signal="waiting"}[5m]))'
        )
        counters = loop.ledger.counters()
        startup = sum(each.startup.sum for each in counters)
        return Conditions(startup / sum(each.startup.count for each in counters), age[0].value)
    finally:
        prometheus.close()


def simulated(seen: LiveRun, conditions: Conditions) -> tuple[float, float]:
    """(worker-seconds, mean wait) of the same jobs in the simulator, in the mean over the phases
    of its looks."""
    given = arena(seen.trace(), 1, MAXIMUM, WorldSettings(conditions.startup_s))
    # Nothing was recorded before the scaler could decide.
    view = ViewSettings(
        LOOP_S, data_age_s=conditions.age_s, outage=conditions.outage, recorded_s=0.0
    )
    policy = ours(given, tick_s=LOOP_S)
    scores = [run(given, policy, view=view, seed=seed) for seed in range(_PHASES)]
    always = float((given.pool.starts - given.trace.arrivals).mean())
    return fmean(s.paid_s for s in scores), fmean(s.wait_mean_s for s in scores) + always


def compared(seen: LiveRun, conditions: Conditions, wanted: str) -> dict[str, Any]:
    """Both sides in numbers; as a table they are written, with what was `wanted` of the ratios."""
    paid_s, wait_s = simulated(seen, conditions)
    cost_ratio, wait_ratio = paid_s / seen.worker_s, wait_s / seen.wait_mean_s
    jobs, startup_s, age_s = len(seen.sent), conditions.startup_s, conditions.age_s
    sys.stdout.write(
        f"{jobs} jobs, start-up {startup_s:.2f} s, data {age_s:.2f} s old\n"
        f"{'':12}{'worker-seconds':>16}{'mean wait s':>14}\n"
        f"{'reality':12}{seen.worker_s:16.0f}{seen.wait_mean_s:14.2f}\n"
        f"{'simulator':12}{paid_s:16.0f}{wait_s:14.2f}\n"
        f"{'ratio':12}{cost_ratio:16.3f}{wait_ratio:14.3f}   ({wanted} wanted)\n"
    )
    return {
        "jobs": jobs,
        "startup_s": round(startup_s, 3),
        "data_age_s": round(age_s, 3),
        "worker_s_real": round(seen.worker_s, 1),
        "worker_s_simulated": round(paid_s, 1),
        "wait_mean_s_real": round(seen.wait_mean_s, 3),
        "wait_mean_s_simulated": round(wait_s, 3),
        "worker_seconds_ratio": round(cost_ratio, 3),
        "wait_ratio": round(wait_ratio, 3),
    }
