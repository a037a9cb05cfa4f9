"""How long from publishing a burst to the accepted service update, and to the first new worker.

Everything is real: jobs through RabbitMQ, exporter, Prometheus, scaler and gateway to the engine of
a private Swarm, whose own event says when the update was accepted; the worker says when it
consumes. After each burst the queue is purged and the count set back by hand, as fast as it goes.

Beside it what the plan's intervals (collection every 15 s, cool-down 60 s) and KEDA's defaults
(poll every 30 s, the HPA's sync every 15 s) come to by their own arithmetic, for bursts that fall
at random times and without any delay but waiting for the next look.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.loop import dialogue
from tests.support.rig import SERVICE, Rig
from tests.support.waiting import until

JOBS = 4
# The policy lets go at once, so that one burst does not prepare for the next.
KNOBS = ", wait_weight: 0, headroom: 0, startup_seconds: 1, forecast: false"
BOUND_S = 2.5


@dataclass(frozen=True)
class Reaction:
    """Seconds from the publish."""

    update_s: float
    consuming_s: float


class Updates:
    """When the engine accepted a higher count."""

    def __init__(self, rig: Rig) -> None:
        self.raised_at: list[float] = []
        self._stream: Any = rig.engine.api.events(
            decode=True, filters={"type": "service", "event": "update"}
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for event in self._stream:
            attributes = event["Actor"]["Attributes"]
            old, new = attributes.get("replicas.old"), attributes.get("replicas.new")
            if attributes.get("name") == SERVICE and old and int(new) > int(old):
                self.raised_at.append(event["timeNano"] / 1e9)


def main() -> int:
    """Bursts, a table, a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bursts", type=int, default=50)
    bursts = parser.parse_args().bursts
    dice = random.Random(1)
    with (
        tempfile.TemporaryDirectory() as folder,
        Rig(Path(folder), low=1, high=JOBS, knobs=KNOBS) as rig,
    ):
        rig.start()
        updates = Updates(rig)
        seen = []
        for number in range(bursts):
            come_to_rest(rig)
            time.sleep(dice.random() * 2)
            seen.append(burst(rig, updates, number))
    report(seen)
    return 0


def burst(rig: Rig, updates: Updates, number: int) -> Reaction:
    """Publish and await both ends."""
    known = {worker.id for worker in rig.ledger.workers()}
    jobs = [dialogue(f"reaction-{number}-{one}") for one in range(JOBS)]
    updates.raised_at.clear()
    began = time.time()
    rig.broker.publish(jobs)
    until(lambda: updates.raised_at, "the update accepted")
    accepted = updates.raised_at[0]

    def first_consuming() -> float | None:
        starts = [
            worker.started_at.timestamp() + worker.startup_seconds
            for worker in rig.ledger.workers()
            if worker.id not in known and worker.startup_seconds is not None
        ]
        return min(starts, default=None)

    consuming = until(first_consuming, "a new worker consuming")
    return Reaction(accepted - began, consuming - began)


def come_to_rest(rig: Rig) -> None:
    """One idle worker, an empty queue, nothing on its way."""
    with rig.broker.channel() as channel:
        channel.queue_purge("video-queue")
    until(lambda: working(rig) == 0, "the jobs in hand done", timeout_s=120)
    until(lambda: at_one(rig), "one worker", timeout_s=120)


def working(rig: Rig) -> int:
    """Workers that have a job."""
    return sum(worker.has_job for worker in rig.ledger.workers())


def at_one(rig: Rig) -> bool:
    """Whether the fleet is back at one, idle."""
    workers = rig.ledger.workers()
    return rig.replicas() == 1 and len(workers) == 1 and workers[0].status == "idle"


def quantile(values: Sequence[float], share: float) -> float:
    """By the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def peers(count: int = 100_000) -> dict[str, list[float]]:
    """Waits until the next look, for bursts at random times."""
    dice = random.Random(2)
    # The plan acts at its next collection, or once the cool-down of a change that was made at a
    # random moment of the last minute is over.
    plan = [dice.uniform(0, 15) for _ in range(count)]
    cooling = [max(dice.uniform(0, 15), dice.uniform(0, 60)) for _ in range(count)]
    # From one worker on the HPA decides, at its sync; from none KEDA's poll does.
    return {
        "the plan": plan,
        "the plan, cooling down": cooling,
        "KEDA, from 1": [dice.uniform(0, 15) for _ in range(count)],
        "KEDA, from 0": [dice.uniform(0, 30) for _ in range(count)],
    }


def report(seen: Sequence[Reaction]) -> None:
    """A table, and last one line of JSON."""
    rows = {"ours, update accepted": [one.update_s for one in seen]}
    rows["ours, first new worker"] = [one.consuming_s for one in seen]
    rows |= peers()
    base = quantile(rows["ours, update accepted"], 0.95)
    lines = [f"{'':26}{'p50 s':>8}{'p95 s':>8}{'p95 over ours':>15}"]
    for name, values in rows.items():
        p50, p95 = quantile(values, 0.5), quantile(values, 0.95)
        lines.append(f"{name:26}{p50:8.2f}{p95:8.2f}{p95 / base:15.1f}")
    lines.append(f"{'bound':26}{'':8}{BOUND_S:8.2f}{BOUND_S / base:15.1f}")
    sys.stdout.write("\n".join(lines) + "\n")
    keys = {
        "p50_s": round(quantile(rows["ours, update accepted"], 0.5), 3),
        "p95_s": round(base, 3),
        "consuming_p95_s": round(quantile(rows["ours, first new worker"], 0.95), 3),
    }
    sys.stdout.write(json.dumps(keys) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
