"""A series of bursts through real parts and simulated, with a scaler that is killed in the middle.

    make bench-loop ARGS="[--minutes 15]"

What is real and how it is counted, `tests/bench/live_run.py` says; a worker begins with a sleep of
twenty seconds. At half time the scaler is killed and started again with its history. Another one
looks on all the time, at the same Prometheus and the same workers, stands by, and decides
unbroken: the decisions of both are compared second by second, with a tick of patience for the
phase of their looks. How far two scalers agree of which none was killed, the time before tells. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from demo.ports import free_ports
from scaler.loop.history_file import HistoryFile
from scaler.simulate.generators import generate
from scaler.simulate.loads import Generator
from tests.bench.live_run import (
    LOOP_S,
    MAXIMUM,
    Decided,
    PacedJob,
    compared,
    decisions,
    live,
    measured,
    stand_in,
)
from tests.support.loop import TARGET, Loop

SEED = 3
MAKING_S = 20.0
SERIES = {"burst": 6.0, "within": 10.0, "gap": 60.0}
DURATIONS_S = (15.0, 25.0)


class Difference(NamedTuple):
    """A time in which two scalers had decided differently."""

    since_s: float
    """After the begin of the comparison."""
    for_s: float
    own: int
    other: int


def series(minutes: float) -> list[PacedJob]:
    """Bursts that come back, of jobs that take about as long as a start."""
    arrivals = generate(Generator.SERIES, seed=SEED, hours=minutes / 60, **SERIES).arrivals
    rng = random.Random(SEED)
    return [
        PacedJob(float(at), f"burst-{n}", rng.uniform(*DURATIONS_S))
        for n, at in enumerate(arrivals)
    ]


def look_on(loop: Loop) -> Path:
    """Start a scaler that sees what the loop's sees and never acts, since where it looks for the
    ledger there is none, and so no lease; the folder of its history."""
    http, grpc, nobody = free_ports(3)
    history = loop.stack.folder / "onlooker"
    settings = {
        **loop.stack.environment(),
        "ORCHESTRATOR": "process",
        "WORKER_STATE": str(loop.stack.folder / "workers"),
        "MAX_WORKERS": str(MAXIMUM),
        "REDIS_URL": f"redis://127.0.0.1:{nobody}/0",
        "HTTP_PORT": str(http),
        "GRPC_PORT": str(grpc),
        "HISTORY_PATH": str(history),
    }
    command = [sys.executable, "-m", "scaler", "run"]
    ready = f"http://127.0.0.1:{http}/-/ready"
    loop.stack.spawn("onlooker", command, settings, ready_url=ready)
    return history


def number_at(steps: Sequence[Decided], at: float) -> int:
    """The newest number at that time."""
    return next(step.replicas for step in reversed(steps) if step.at <= at)


def agreement(
    own: Sequence[Decided], other: Sequence[Decided], begin: float, end: float
) -> tuple[float, list[Difference]]:
    """(share of the seconds in which both had decided the same, what differed): the same as the
    other had within a tick, since they do not look at the same moment."""
    differences: list[Difference] = []
    seconds = [begin + second for second in range(int(end - begin))]
    equal = 0
    for at in seconds:
        mine = number_at(own, at)
        near = {number_at(other, at - LOOP_S)}
        near |= {step.replicas for step in other if abs(step.at - at) <= LOOP_S}
        if mine in near:
            equal += 1
            continue
        now = Difference(round(at - begin, 1), 1.0, mine, number_at(other, at))
        last = differences[-1] if differences else None
        if last and last[2:] == now[2:] and last.since_s + last.for_s == now.since_s:
            differences[-1] = last._replace(for_s=last.for_s + 1.0)
        else:
            differences.append(now)
    return equal / max(1, len(seconds)), differences


def usual_of(history: Path) -> dict[str, Any]:
    """What the scaler's memory last had of demand's moments."""
    query = "SELECT content FROM additions WHERE target = ?"
    ((content,),) = HistoryFile(history).read(query, (TARGET,))
    moments = json.loads(content)["usual"]["demand"]
    names = ("returns", "persistence", "mean", "variance")
    return {name: round(moments[name], 3) for name in names}


def main() -> None:
    """Live it with a break in the middle, simulate it, compare both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=15.0)
    flags = parser.parse_args()
    killed: list[float] = []
    with tempfile.TemporaryDirectory(prefix="loop-") as name:
        loop = stand_in(Path(name), MAKING_S)

        def kill() -> None:
            killed.append(time.time())
            loop.kill_scaler()
            loop.stack.parts["scaler"].start()

        with loop.stack:
            loop.start()
            history = loop.stack.folder / "scaler"
            other_history = look_on(loop)
            seen = live(loop, series(flags.minutes), (flags.minutes * 30, kill))
            conditions = measured(loop)
            for part in ("scaler", "onlooker"):
                loop.stack.parts[part].stop()
            own, other = decisions(history), decisions(other_history)
            memories = {"usual": usual_of(history), "usual_unbroken": usual_of(other_history)}
    (at,) = killed
    again = next(step.at for step in own if step.at > at)
    acting = next(step.at for step in own if step.at > at and not step.standby)
    conditions = conditions._replace(outage=(at - seen.began, acting - seen.began))
    result = compared(seen, conditions, "within 0.9 to 1.1")
    result["away_s"], result["standby_s"] = round(again - at, 1), round(acting - again, 1)
    regressed = [step.at - seen.began for step in own if step.regressed]
    result["regressed_after_s"] = round(regressed[0], 1) if regressed else None
    before, _ = agreement(own, other, other[0].at + LOOP_S, at)
    share, differences = agreement(own, other, again, max(seen.done.values()))
    result["decisions_equal_share_before"] = round(before, 4)
    result["decisions_equal_share"] = round(share, 4)
    sys.stdout.write(f"decisions equal: {share:.4f} after the restart, {before:.4f} before\n")
    for each in differences:
        sys.stdout.write(f"  {each}\n")
    result["differences"] = [each._asdict() for each in differences]
    sys.stdout.write(json.dumps(result | memories) + "\n")


if __name__ == "__main__":
    main()
