"""Proposes settings for a wish about waiting or cost, with what they would have cost."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from common.errors import ConfigError
from scaler.simulate.arena import Arena, Policy, arena
from scaler.simulate.compare import draw_frontier, progress_bar, record
from scaler.simulate.peers import WAIT_WEIGHTS, ours
from scaler.simulate.report import table
from scaler.simulate.score import Score
from scaler.simulate.sweep import Entry, sweep
from scaler.simulate.trace import Trace
from scaler.simulate.world import WorldSettings

_WAITS = {
    "mean": "wait_mean_s",
    "p50": "wait_p50_s",
    "p95": "wait_p95_s",
    "p99": "wait_p99_s",
}
_HOURS = "hours/day"
_ALLOWED = "'p95 <= 30' (mean, p50, p95, p99; seconds) or 'hours/day <= 5' (worker-hours a day)"


@dataclass(frozen=True, slots=True)
class Wish:
    """An upper limit on a wait, or on what is paid."""

    what: str
    limit: float

    def measure(self, score: Score) -> float:
        """What the run has of it."""
        if self.what == _HOURS:
            return score.paid_s / 3600 / (score.horizon_s / 86_400)
        value: float = getattr(score, _WAITS[self.what])
        return value

    def prefers(self, score: Score) -> float:
        """What to keep low among the runs that fulfil it: the other side of the bargain."""
        return score.wait_mean_s if self.what == _HOURS else score.paid_s


def wish_of(text: str) -> Wish:
    """A wish from text such as `p95 <= 30`. Raises ConfigError for anything else."""
    found = re.fullmatch(r"\s*(mean|p50|p95|p99|hours/day)\s*(?:<=|≤|<)\s*(\d+(?:\.\d+)?)\s*", text)
    if not found:
        raise ConfigError("wish", text, _ALLOWED)
    return Wish(found[1], float(found[2]))


@dataclass(frozen=True, slots=True)
class Proposal:
    """The settings chosen, whether they do what was wished, and all that was tried."""

    arena: Arena
    chosen: Entry
    fulfilled: bool
    tried: list[Entry]


def choose(wish: Wish, arenas: Sequence[tuple[Arena, list[Entry]]]) -> Proposal:
    """The best entry that fulfils the wish, else the one that comes nearest."""
    every = [(given, entry, entries) for given, entries in arenas for entry in entries]
    good = [each for each in every if wish.measure(each[1].score) <= wish.limit]
    if good:
        given, entry, tried = min(good, key=lambda each: wish.prefers(each[1].score))
    else:
        given, entry, tried = min(every, key=lambda each: wish.measure(each[1].score))
    return Proposal(given, entry, bool(good), tried)


def propose(
    trace: Trace,
    text: str,
    world: WorldSettings,
    *,
    bounds: tuple[int, int],
    seed: int,
    as_json: bool,
    folder: Path | None,
) -> None:
    """Try what waiting may be worth, over several minimums, and show the proposal."""
    wish = wish_of(text)
    lowest = arena(trace, *bounds, world)
    higher = [arena(trace, low, bounds[1], world) for low in _higher_minimums(lowest)]
    arenas = [lowest, *higher]
    entries: list[list[Entry]] = []
    with progress_bar(f"tuning for {text}", len(arenas) * len(WAIT_WEIGHTS)) as step:
        for given in arenas:
            tries = [ours(given, wait_weight=weight) for weight in WAIT_WEIGHTS]
            entries.append(sweep(given, tries, seed=seed, done=lambda: step(1.0)))
    proposal = choose(wish, list(zip(arenas, entries, strict=True)))
    if folder is not None:
        draw_frontier(proposal.arena, {"ours": proposal.tried}, folder)
    _show(proposal, wish, text, as_json)


def settings(policy: Policy) -> dict[str, Any]:
    """The knobs that the proposal sets, as they go into `scaling-config.yml`."""
    return {"scaling": policy.target.model_dump(mode="json", exclude_unset=True)}


def _higher_minimums(given: Arena) -> list[int]:
    """A little above the operator's minimum, and at the load: a floor buys what headroom can't."""
    low, load = given.minimum, given.pool.mean_load
    wanted = {low + 1, low + 3, round(load), round(1.6 * load)}
    return sorted(n for n in wanted if low < n <= given.maximum)


def _show(proposal: Proposal, wish: Wish, text: str, as_json: bool) -> None:
    chosen = proposal.chosen
    measured = wish.measure(chosen.score)
    if as_json:
        content = {
            "wish": text,
            "fulfilled": proposal.fulfilled,
            "measured": measured,
            "config": settings(chosen.policy),
            "chosen": record(proposal.arena, chosen),
            "tried": [record(proposal.arena, entry) for entry in proposal.tried],
        }
        sys.stdout.write(json.dumps(content) + "\n")
        return
    Console(width=None if sys.stdout.isatty() else 190).print(table(proposal.arena, proposal.tried))
    hours = chosen.score.paid_s / 3600 / (chosen.score.horizon_s / 86_400)
    verdict = "fulfils the wish" if proposal.fulfilled else "comes nearest; nothing tried does it"
    sys.stdout.write(
        f"# {text}: this {verdict}, with {wish.what} = {measured:.1f}. It would have cost "
        f"{hours:.1f} worker-hours a day\n"
        f"# ({chosen.score.paid_c0:.2f} times the clairvoyant's), with a mean wait of "
        f"{chosen.score.wait_mean_s:.1f} s and p95 {chosen.score.wait_p95_s:.1f} s.\n"
        f"{yaml.safe_dump(settings(chosen.policy), sort_keys=False)}"
    )
