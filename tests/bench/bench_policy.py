"""The policy beside its peers, each at its best, over real traces.

    make bench-policy ARGS="[--traces FOLDER] [--only NAME] [--startup S] [--max N]"

For every trace, start-up time and maximum: each policy is run over all its knobs, and at its best
with higher minimums too, up to the size of the best fixed fleet. For each worth of waiting w the
setting with the lowest J(w)/C₀ is run again with other seeds (other tick phases, other victims).
J(w)/C₀ in the table are means over the seeds. Ours is then disturbed: old data, missing scrapes, an
outage in the busiest hour. The last line is JSON, an object for each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from scaler.simulate.arena import Arena, Policy, Timeline, arena, run
from scaler.simulate.compare import swept
from scaler.simulate.delayed_view import ViewSettings
from scaler.simulate.peers import ours
from scaler.simulate.score import WEIGHTS, Score
from scaler.simulate.sweep import Entry, best
from scaler.simulate.trace import read_csv
from scaler.simulate.world import WorldSettings

OUTAGE_S = 600.0
TICK_S = 5.0


@dataclass(frozen=True)
class Envelope:
    """A policy's lowest J(w)/C₀ for each w, over its knobs, and how much the seeds move it."""

    kind: str
    settings: dict[int, Policy]
    scores: dict[int, list[Score]]
    killed: int

    def cost(self, weight: int) -> float:
        return fmean(score.cost(weight) for score in self.scores[weight])

    def noise(self, weight: int) -> float:
        costs = [score.cost(weight) for score in self.scores[weight]]
        return (max(costs) - min(costs)) / 2

    def to_json(self, given: Arena) -> dict[str, object]:
        """Costs are the envelope's; cost and waits beside them are those of the best for w = 4."""
        middle = self.scores[4]
        return {
            "trace": given.trace.name,
            "startup_s": given.world.startup_s,
            "max": given.maximum,
            "policy": self.kind,
            "settings": {f"w{w}": policy.label for w, policy in self.settings.items()},
            "paid_c0": round(fmean(score.paid_c0 for score in middle), 4),
            "wait_mean_s": round(fmean(score.wait_mean_s for score in middle), 3),
            "wait_p95_s": round(fmean(score.wait_p95_s for score in middle), 2),
            **{f"j{w}_c0": round(self.cost(w), 4) for w in WEIGHTS},
            "killed": self.killed,
        }


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def envelope(given: Arena, kind: str, entries: Sequence[Entry], seeds: int) -> Envelope:
    """Runs the best settings again with the other seeds."""
    chosen = {weight: best(entries, weight) for weight in WEIGHTS}
    again: dict[str, list[Score]] = {}
    for entry in chosen.values():
        if entry.policy.label not in again:
            others = [run(given, entry.policy, seed=seed) for seed in range(1, seeds)]
            again[entry.policy.label] = [entry.score, *others]
    killed = max(
        *(entry.score.killed for entry in entries),
        *(score.killed for scores in again.values() for score in scores),
    )
    return Envelope(
        kind,
        {weight: entry.policy for weight, entry in chosen.items()},
        {weight: again[entry.policy.label] for weight, entry in chosen.items()},
        killed,
    )


def compare(given: Arena, seeds: int) -> list[Envelope]:
    """Every policy at its best, printed as a table."""
    _say(
        f"\n## {given.trace.name}, start-up {given.world.startup_s:g} s, max {given.maximum}; "
        f"C₀ = {given.c0_s / 3600:.1f} worker-hours"
    )
    _say(f"{'policy':7}{'w':>3}  {'J(w)/C₀':>8} {'±':>6} {'paid/C₀':>8} {'mean':>8} {'p95':>8}"
          f" {'≤30 s':>7} {'killed':>7} {'act/h':>6}  setting")  # fmt: skip
    found = []
    for kind, entries in swept(given, ["ours", "keda", "plan", "fixed"]).items():
        one = envelope(given, kind, entries, seeds)
        found.append(one)
        for weight in WEIGHTS:
            score = one.scores[weight][0]
            _say(
                f"{kind:7}{weight:>3}  {one.cost(weight):8.3f} {one.noise(weight):6.3f} "
                f"{score.paid_c0:8.3f} {score.wait_mean_s:8.2f} {score.wait_p95_s:8.1f} "
                f"{score.started_30s:7.1%} {score.killed:7} {score.actions_per_hour:6.1f}  "
                f"{one.settings[weight].label}"
            )
    _verdict(found)
    return found


def _verdict(found: Sequence[Envelope]) -> None:
    mine = next(one for one in found if one.kind == "ours")
    for weight in WEIGHTS:
        parts = []
        for peer in found:
            if peer is mine:
                continue
            margin = mine.cost(weight) - peer.cost(weight)
            noise = mine.noise(weight) + peer.noise(weight)
            word = "below" if margin <= 0 else "within noise" if margin <= noise else "ABOVE"
            parts.append(f"{mine.cost(weight) / peer.cost(weight):.3f} of {peer.kind}'s, {word}")
        _say(f"ours, J({weight}): {'; '.join(parts)}")
    _say(f"busy workers stopped by ours, all runs: {mine.killed}")


def disturb(given: Arena) -> list[dict[str, object]]:
    """Ours with a dim view of the world, against the undisturbed run."""
    outage = _busiest(given)
    views = {
        "undisturbed": ViewSettings(TICK_S),
        "data 15 s old": ViewSettings(TICK_S, data_age_s=15.0),
        "5 % of scrapes missing": ViewSettings(TICK_S, missing=0.05),
        "10 min without Prometheus": ViewSettings(TICK_S, outage=outage),
    }
    rows: list[dict[str, object]] = []
    clear: Score | None = None
    _say(f"{'disturbance':27}{'paid/C₀':>8} {'×':>6} {'mean':>7} {'×':>6} {'p95':>7} {'killed':>7}")
    for name, view in views.items():
        line = Timeline()
        score = run(given, ours(given), view=view, timeline=line)
        clear = clear or score
        paid, wait = score.paid_c0 / clear.paid_c0, score.wait_mean_s / max(clear.wait_mean_s, 1e-9)
        _say(f"{name:27}{score.paid_c0:8.3f} {paid:6.3f} {score.wait_mean_s:7.2f} {wait:6.2f} "
              f"{score.wait_p95_s:7.1f} {score.killed:7}")  # fmt: skip
        rows.append(
            {
                "trace": given.trace.name,
                "startup_s": given.world.startup_s,
                "max": given.maximum,
                "policy": "ours",
                "disturbance": name,
                "paid_c0": round(score.paid_c0, 4),
                "wait_mean_s": round(score.wait_mean_s, 3),
                "wait_p95_s": round(score.wait_p95_s, 2),
                "killed": score.killed,
                **({"lowest_fall": _fall(line, *outage)} if view.outage else {}),
            }
        )
        if view.outage:
            _say(f"  the target fell by {_fall(line, *outage)} during the outage")
    return rows


def _busiest(given: Arena) -> tuple[float, float]:
    """Ten minutes in the middle of the hour with most arrivals."""
    counts = np.bincount((given.trace.arrivals // 3600).astype(int))
    begin = float(np.argmax(counts)) * 3600 + 1500
    return begin, begin + OUTAGE_S


def _fall(line: Timeline, begin: float, end: float) -> int:
    """By how much the target was lowered within that time."""
    inside = [wanted for at, wanted in zip(line.at, line.wanted, strict=True) if begin <= at < end]
    highest, fall = 0, 0
    for wanted in inside:
        highest = max(highest, wanted)
        fall = max(fall, highest - wanted)
    return fall


def speed(given: Arena) -> None:
    """One run of ours, on one core."""
    began, used = time.perf_counter(), time.process_time()
    run(given, ours(given))
    took, cpu = time.perf_counter() - began, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ticks = given.pool.horizon_s / TICK_S
    _say(
        f"\nspeed: {len(given.trace):,} jobs, {ticks:,.0f} ticks in {took:.1f} s "
        f"({cpu:.1f} s of CPU, bound 60), memory {peak:.0f} MB (bound 500)"
    )


def main() -> None:
    """Run what the flags choose."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=Path, default=os.environ.get("TRACES", "../shared/traces"))
    parser.add_argument("--only", action="append", help="part of a trace's name; may be repeated")
    parser.add_argument("--startup", type=float, action="append", help="default 45 and 10")
    parser.add_argument("--max", type=int, action="append", help="default 1000 and 10")
    parser.add_argument("--seeds", type=int, default=3)
    flags = parser.parse_args()
    files = [
        path
        for path in sorted(Path(flags.traces).glob("*.csv.gz"))
        if not flags.only or any(part in path.name for part in flags.only)
    ]
    if not files:
        sys.exit(f"no trace (*.csv.gz) in {flags.traces}")
    rows: list[dict[str, object]] = []
    for path in files:
        trace = read_csv(path)
        for maximum in flags.max or (1000, 10):
            for startup in flags.startup or (45.0, 10.0):
                given = arena(trace, 1, maximum, WorldSettings(startup))
                rows += [one.to_json(given) for one in compare(given, flags.seeds)]
                rows += disturb(given)
        if trace.name.startswith("lcg"):
            speed(arena(trace, 1, 1000, WorldSettings(45.0)))
    _say(json.dumps(rows))


if __name__ == "__main__":
    main()
