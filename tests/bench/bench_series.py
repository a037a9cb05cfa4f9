"""Bursts that come back, and thin load: the policy as shipped beside KEDA at its best.

    make bench-series ARGS="[--seed N] [--startup S] [--gap G] [--burst N] [--weight W] [--only …]"

Each option may be repeated and picks a part; a gap or a burst leaves thin load out. A cell is one
start-up, gap, size of bursts, w and seed. In each, ours is run with `wait_weight` alone set, beside
the rule as it was before it knew of returns (tests/support/former_rule.py), and beside KEDA with
that one of its settings which turned out best for this very cell: seventy, of half a job to two
jobs per replica and windows of up to ten minutes. One worker at least, a thousand at most. Figures
are J(w)/C₀. With `--keep FILE` the others' figures are kept there from one run to the next, for as
long as their code is the same. The last line is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from statistics import median

from scaler.simulate.arena import Arena, Policy, arena, run
from scaler.simulate.delayed_view import DelayedView
from scaler.simulate.generators import generate
from scaler.simulate.loads import Generator
from scaler.simulate.peers import TICK_S, all_keda, ours
from scaler.simulate.score import WEIGHTS
from scaler.simulate.strategies import Strategy
from scaler.simulate.world import WorldSettings
from tests.support.former_rule import Former, FormerRule

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (1, 2, 3)
SERIES_STARTUPS = (45.0, 120.0)
THIN_STARTUPS = (10.0, 45.0)
GAPS = (60.0, 120.0, 300.0, 600.0)
BURSTS = (6.0, 60.0)
THIN_HOURS = 240.0
"""Ten days: chance would decide over the hundred jobs of one."""
LONG_WINDOW_S = 600.0
LOWEST, HIGHEST = 1, 1000


@dataclass(frozen=True)
class Cell:
    """One load and start-up, which all are run over; `gap` and `burst` are 0 for thin load."""

    generator: Generator
    startup_s: float
    gap: float
    burst: float
    seed: int

    @property
    def is_thin(self) -> bool:
        return self.generator is Generator.THIN

    def __str__(self) -> str:
        load = "thin" if self.is_thin else f"bursts of {self.burst:g} with gaps of {self.gap:g} s"
        return f"{load}, S = {self.startup_s:g} s, seed {self.seed}"


@dataclass(frozen=True)
class Outcome:
    """What one of them pays and lets wait in a cell, for one w."""

    cost: float
    paid_c0: float
    wait_mean_s: float
    setting: str


@dataclass(frozen=True)
class Row:
    """The three side by side."""

    cell: Cell
    weight: int
    ours: Outcome
    keda: Outcome
    before: Outcome

    @property
    def over_keda(self) -> float:
        return self.ours.cost / self.keda.cost

    @property
    def over_before(self) -> float:
        return self.ours.cost / self.before.cost


@lru_cache(maxsize=4)
def arena_of(cell: Cell) -> Arena:
    given = {"hours": THIN_HOURS} if cell.is_thin else {"gap": cell.gap, "burst": cell.burst}
    trace = generate(cell.generator, seed=cell.seed, **given)
    return arena(trace, LOWEST, HIGHEST, WorldSettings(cell.startup_s))


Work = tuple[Cell, str, int]
"""Whose runs over which cell: ours or the former rule's for a w, or the n-th part of KEDA's."""
KEDA_PARTS = 7


def outcomes(work: Work) -> list[dict[int, Outcome]]:
    """What each of those runs comes to, by w. Runs in a process of its own."""
    cell, who, number = work
    given = arena_of(cell)
    if who == "keda":
        policies = all_keda(given, LONG_WINDOW_S)[number::KEDA_PARTS]
    elif who == "ours":
        policies = [ours(given, wait_weight=number)]
    else:
        policies = [Policy(who, f"w {number}", TICK_S)]
    found = []
    for policy in policies:
        acting = _former(number) if who == "before" else None
        score = run(given, policy, seed=cell.seed, strategy=acting)
        asked = WEIGHTS if who == "keda" else (number,)
        found.append(
            {
                weight: Outcome(score.cost(weight), score.paid_c0, score.wait_mean_s, policy.label)
                for weight in asked
            }
        )
    return found


def _former(weight: int) -> Callable[[DelayedView], Strategy]:
    return lambda view: Former(FormerRule(weight, LOWEST, HIGHEST), view)


Peers = dict[str, dict[int, Outcome]]
"""The former rule's and KEDA's outcomes by w."""


class Kept:
    """The others' figures of earlier runs, in a file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._code = _digest()
        content = json.loads(path.read_text()) if path is not None and path.exists() else {}
        self._found: dict[str, dict[str, dict[str, list[object]]]] = content

    def get(self, cell: Cell) -> Peers | None:
        found = self._found.get(self._key(cell))
        if found is None:
            return None
        return {
            who: {int(w): Outcome(*outcome) for w, outcome in by_weight.items()}  # type: ignore[arg-type]
            for who, by_weight in found.items()
        }

    def put(self, cell: Cell, peers: Peers) -> None:
        if self._path is None:
            return
        self._found[self._key(cell)] = {
            who: {str(w): list(vars(outcome).values()) for w, outcome in by_weight.items()}
            for who, by_weight in peers.items()
        }
        self._path.write_text(json.dumps(self._found))

    def _key(self, cell: Cell) -> str:
        return f"{self._code} {cell}"


def _digest() -> str:
    """Of all that the others' figures depend on."""
    files = [
        *sorted((ROOT / "scaler/simulate").glob("*.py")),
        ROOT / "scaler/policy/trailing_maxima.py",
        ROOT / "tests/support/former_rule.py",
        Path(__file__),
    ]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def rows(cells: Sequence[Cell], weights: Sequence[int], kept: Kept) -> Iterator[Row]:
    """Each cell's, as soon as it is worked out."""
    work: list[Work] = []
    for cell in cells:
        work += [(cell, "ours", weight) for weight in weights]
        if kept.get(cell) is None:
            work += [(cell, "before", weight) for weight in WEIGHTS]
            work += [(cell, "keda", part) for part in range(KEDA_PARTS)]
    with ProcessPoolExecutor(os.cpu_count()) as executor:
        answers = executor.map(outcomes, work)
        for cell in cells:
            mine = {weight: next(answers)[0][weight] for weight in weights}
            peers = kept.get(cell)
            if peers is None:
                before = {weight: next(answers)[0][weight] for weight in WEIGHTS}
                tried = [each for _ in range(KEDA_PARTS) for each in next(answers)]
                keda = {w: min((each[w] for each in tried), key=lambda e: e.cost) for w in WEIGHTS}
                peers = {"before": before, "keda": keda}
                kept.put(cell, peers)
            for weight in weights:
                yield Row(
                    cell, weight, mine[weight], peers["keda"][weight], peers["before"][weight]
                )


def summary(found: Sequence[Row]) -> dict[str, float | int | None]:
    series = [row for row in found if not row.cell.is_thin]
    thin = [row for row in found if row.cell.is_thin]
    against_keda = [row.over_keda for row in series]
    against_before = [row.over_before for row in series]
    figures: dict[str, float | None] = {
        "share_at_or_below_keda": None,
        "worst_over_keda": max(against_keda, default=None),
        "median_over_before": median(against_before) if series else None,
        "worst_over_before": max(against_before, default=None),
        "thin_worst_over_keda": max((row.over_keda for row in thin), default=None),
        "thin_worst_over_before": max((row.over_before for row in thin), default=None),
    }
    if series:
        share = sum(ratio <= 1.0 for ratio in against_keda) / len(series)
        figures["share_at_or_below_keda"] = share
    rounded = {name: value if value is None else round(value, 4) for name, value in figures.items()}
    return {**rounded, "cells": len(series), "thin_cells": len(thin)}


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _show(row: Row) -> None:
    cell, mine = row.cell, row.ours
    _say(
        f"{cell.seed:4} {cell.startup_s:4g} {cell.gap:4g} {cell.burst:5g} {row.weight:3}  "
        f"{mine.cost:7.4f} {row.keda.cost:7.4f} {row.before.cost:7.4f}  "
        f"{row.over_keda:6.3f}{'!' if row.over_keda > 1 else ' '} {row.over_before:6.3f}"
        f"{'!' if row.over_before > 1 else ' '}  {mine.paid_c0:6.3f} {mine.wait_mean_s:7.2f}  "
        f"{row.before.paid_c0:6.3f} {row.before.wait_mean_s:7.2f}  {row.keda.setting}"
    )


def _cells(flags: argparse.Namespace) -> list[Cell]:
    """Series first, then thin load."""
    seeds = flags.seed or SEEDS
    cells = [
        Cell(Generator.SERIES, startup, gap, burst, seed)
        for startup, gap, burst, seed in product(
            flags.startup or SERIES_STARTUPS, flags.gap or GAPS, flags.burst or BURSTS, seeds
        )
    ]
    thin = [
        Cell(Generator.THIN, startup, 0, 0, seed)
        for startup, seed in product(flags.startup or THIN_STARTUPS, seeds)
    ]
    if flags.only == "thin":
        return thin
    return cells if flags.only == "series" or flags.gap or flags.burst else cells + thin


def main() -> None:
    """Run what the flags choose."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, action="append", help="default 1, 2 and 3")
    parser.add_argument(
        "--startup", type=float, action="append", help="default 45, 120; thin 10, 45"
    )
    parser.add_argument("--gap", type=float, action="append", help="default 60, 120, 300 and 600")
    parser.add_argument("--burst", type=float, action="append", help="default 6 and 60")
    parser.add_argument("--weight", type=int, action="append", choices=WEIGHTS)
    parser.add_argument("--only", choices=("series", "thin"))
    parser.add_argument("--keep", type=Path, metavar="FILE", help="for the others' figures")
    flags = parser.parse_args()
    began = time.monotonic()
    _say("a cell and w a line: J(w)/C₀, ours over the others', paid/C₀ and mean wait")
    _say(
        f"{'seed':4} {'S':>4} {'gap':>4} {'burst':>5} {'w':>3}  {'ours':>7} {'keda':>7} "
        f"{'before':>7}  {'/keda':>6}  {'/before':>7}  {'paid':>6} {'wait':>7}  "
        f"{'before':>6} {'wait':>7}  KEDA's best"
    )
    found = []
    for row in rows(_cells(flags), flags.weight or WEIGHTS, Kept(flags.keep)):
        found.append(row)
        _show(row)
    _say(f"{time.monotonic() - began:.0f} s")
    _say(json.dumps(summary(found)))


if __name__ == "__main__":
    main()
