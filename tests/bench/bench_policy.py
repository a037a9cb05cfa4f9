"""The policy beside its peers, each at its best, over real traces.

    make bench-policy ARGS="[--traces FOLDER] [--only NAME] [--startup S] [--max N]
                            [--kind shipped|ours|keda|plan|fixed] [--before FILE]"

For every trace, start-up time and maximum: each policy is run over all its knobs, and at its best
with higher minimums too, up to the size of the best fixed fleet. For each worth of waiting w the
setting with the lowest J(w)/C₀ is run again with other seeds (other tick phases, other victims).
J(w)/C₀ in the table are means over the seeds. Beside them stands ours as shipped: `wait_weight`
set to w and nothing else. Ours is then disturbed: old data, missing scrapes, an outage in the
busiest hour. With `--kind`, which may be repeated like the others, only those are run: `shipped`
takes minutes instead of hours. With `--before` what is ours is compared with an earlier run, of
which FILE is the output or its last line. The last line is JSON, an object for each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean

import numpy as np

from scaler.simulate.arena import Arena, Policy, Timeline, arena, run
from scaler.simulate.compare import swept
from scaler.simulate.delayed_view import ViewSettings
from scaler.simulate.peers import ours
from scaler.simulate.score import WEIGHTS, Score
from scaler.simulate.sweep import Entry, best, sweep
from scaler.simulate.trace import read_csv
from scaler.simulate.world import WorldSettings

OUTAGE_S = 600.0
TICK_S = 5.0
MAXIMUMS = (1000, 40, 10)
STARTUPS = (45.0, 10.0)
MORE_STARTUPS = {"fb2009": (120.0,)}
"""By how the trace's name begins: its demand falls back within so long a start-up."""
SHIPPED = "shipped"
KINDS = (SHIPPED, "ours", "keda", "plan", "fixed")


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


def shipped(given: Arena, seeds: int) -> Envelope:
    """Ours for each w, with no other knob set."""
    settings = {weight: ours(given, wait_weight=weight) for weight in WEIGHTS}
    policies = list(settings.values())
    runs = [[entry.score for entry in sweep(given, policies, seed=seed)] for seed in range(seeds)]
    scores = {weight: [run[at] for run in runs] for at, weight in enumerate(WEIGHTS)}
    killed = max(score.killed for run in runs for score in run)
    return Envelope(SHIPPED, settings, scores, killed)


def compare(given: Arena, kinds: Sequence[str], seeds: int) -> list[Envelope]:
    """Ours as shipped and every policy at its best, as far as they are asked, as a table."""
    _say(
        f"\n## {given.trace.name}, start-up {given.world.startup_s:g} s, max {given.maximum}; "
        f"C₀ = {given.c0_s / 3600:.1f} worker-hours"
    )
    _say(f"{'policy':7}{'w':>3}  {'J(w)/C₀':>8} {'±':>6} {'paid/C₀':>8} {'mean':>8} {'p95':>8}"
          f" {'≤30 s':>7} {'killed':>7} {'act/h':>6}  setting")  # fmt: skip
    found = [shipped(given, seeds)] if SHIPPED in kinds else []
    at_best = [kind for kind in kinds if kind != SHIPPED]
    if at_best:
        swept_kinds = swept(given, at_best).items()
        found += [envelope(given, kind, entries, seeds) for kind, entries in swept_kinds]
    for one in found:
        _show(one)
    if "ours" in kinds:
        _verdict({one.kind: one for one in found})
    return found


def _show(one: Envelope) -> None:
    for weight in WEIGHTS:
        score = one.scores[weight][0]
        _say(
            f"{one.kind:7}{weight:>3}  {one.cost(weight):8.3f} {one.noise(weight):6.3f} "
            f"{score.paid_c0:8.3f} {score.wait_mean_s:8.2f} {score.wait_p95_s:8.1f} "
            f"{score.started_30s:7.1%} {score.killed:7} {score.actions_per_hour:6.1f}  "
            f"{one.settings[weight].label}"
        )


def _verdict(found: Mapping[str, Envelope]) -> None:
    mine = found["ours"]
    for weight in WEIGHTS:
        parts = []
        for kind, other in found.items():
            if kind == SHIPPED:
                parts.append(f"as shipped {other.cost(weight) / mine.cost(weight):.3f} of that")
            elif other is not mine:
                margin = mine.cost(weight) - other.cost(weight)
                noise = mine.noise(weight) + other.noise(weight)
                word = "below" if margin <= 0 else "within noise" if margin <= noise else "ABOVE"
                ratio = mine.cost(weight) / other.cost(weight)
                parts.append(f"{ratio:.3f} of {kind}'s, {word}")
        _say(f"ours at its best, J({weight}): {'; '.join(parts)}")
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


Row = Mapping[str, object]


def read_rows(path: Path) -> list[Row]:
    """The last line of an earlier run's output."""
    rows: list[Row] = json.loads(path.read_text().splitlines()[-1])
    return rows


def against(before: Sequence[Row], rows: Sequence[Row]) -> None:
    """Prints what each of ours costs over the same one of the earlier run, the worst at the end."""
    costs = [f"j{weight}_c0" for weight in WEIGHTS]
    earlier = {_name(row): row for row in before if costs[0] in row}
    ratios: dict[str, float] = {}
    _say("\nJ(w)/C₀ over that of before, w = " + " / ".join(map(str, WEIGHTS)))
    for row in rows:
        name = _name(row)
        if row["policy"] not in ("ours", SHIPPED) or costs[0] not in row or name not in earlier:
            continue
        found = [float(str(row[cost])) / float(str(earlier[name][cost])) for cost in costs]
        _say(f"{name:52} {' / '.join(f'{ratio:.4f}' for ratio in found)}")
        ratios |= {f"{name}, w = {w}": ratio for w, ratio in zip(WEIGHTS, found, strict=True)}
    if ratios:
        worst, best_one = max(ratios, key=ratios.__getitem__), min(ratios, key=ratios.__getitem__)
        _say(f"worst: {ratios[worst]:.4f} ({worst}); best: {ratios[best_one]:.4f} ({best_one})")


def _name(row: Row) -> str:
    return f"{row['trace']}, S = {row['startup_s']} s, max {row['max']}, {row['policy']}"


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
    parser.add_argument(
        "--startup", type=float, action="append", help="default 45 and 10, and 120 for fb2009"
    )
    parser.add_argument("--max", type=int, action="append", help="default 1000, 40 and 10")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kind", choices=KINDS, action="append", help="default all")
    parser.add_argument("--before", type=Path, metavar="FILE", help="an earlier run's output")
    flags = parser.parse_args()
    files = [
        path
        for path in sorted(Path(flags.traces).glob("*.csv.gz"))
        if not flags.only or any(part in path.name for part in flags.only)
    ]
    if not files:
        sys.exit(f"no trace (*.csv.gz) in {flags.traces}")
    before = read_rows(flags.before) if flags.before else None
    rows: list[Row] = []
    for path in files:
        trace = read_csv(path)
        for maximum, startup in product(
            flags.max or MAXIMUMS, flags.startup or _startups(trace.name)
        ):
            given = arena(trace, 1, maximum, WorldSettings(startup))
            kinds = flags.kind or KINDS
            rows += [one.to_json(given) for one in compare(given, kinds, flags.seeds)]
            if "ours" in kinds:
                rows += disturb(given)
        if trace.name.startswith("lcg"):
            speed(arena(trace, 1, 1000, WorldSettings(45.0)))
    if before is not None:
        against(before, rows)
    _say(json.dumps(rows))


def _startups(name: str) -> tuple[float, ...]:
    more = [each for begin, each in MORE_STARTUPS.items() if name.startswith(begin)]
    return STARTUPS + sum(more, ())


if __name__ == "__main__":
    main()
