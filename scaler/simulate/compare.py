"""Runs policies side by side and shows the outcome: a table or JSON, a progress bar, plots."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from scaler.simulate.arena import Arena, Policy, Timeline, run
from scaler.simulate.delayed_view import ViewSettings
from scaler.simulate.peers import families, with_minimums
from scaler.simulate.report import heading, table
from scaler.simulate.score import WEIGHTS
from scaler.simulate.sweep import Entry, best, sweep

_WIDE = 190


@dataclass(frozen=True, slots=True)
class Output:
    """What is wanted of a comparison."""

    as_json: bool
    plots: Path | None
    """Folder for the pictures, None for none."""
    every_setting: bool
    """Every knob of each policy, rather than one setting."""


def compare(
    arena: Arena,
    policies: Mapping[str, Policy],
    output: Output,
    *,
    view: ViewSettings,
    seed: int,
) -> None:
    """Replay and show `policies`, by kind; with every setting, each kind's best beside them."""
    kinds, lines = _replayed(arena, policies, view, seed, output.plots is not None)
    shown = [entry for entries in kinds.values() for entry in entries]
    if output.every_setting:
        every = swept(arena, list(policies), view=view, seed=seed)
        shown = _with_their_best(kinds, every)
        kinds = {kind: kinds[kind] + every[kind] for kind in kinds}
    if output.plots is not None:
        _draw_lines(arena, policies, lines, output.plots)
        draw_frontier(arena, kinds, output.plots)
    if output.as_json:
        for entry in shown:
            sys.stdout.write(json.dumps(record(arena, entry)) + "\n")
        return
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table(arena, shown))


def swept(
    arena: Arena, kinds: Sequence[str], *, view: ViewSettings | None = None, seed: int = 0
) -> dict[str, list[Entry]]:
    """Every setting of each kind of policy, and the best ones with higher minimums."""
    every = families(arena)
    first = _swept(arena, {kind: every[kind] for kind in {*kinds, "fixed"}}, view, seed)
    second = _swept(arena, with_minimums(arena, first), view, seed)
    return {kind: first[kind] + second.get(kind, []) for kind in every if kind in kinds}


def _swept(
    arena: Arena, policies: Mapping[str, Sequence[Policy]], view: ViewSettings | None, seed: int
) -> dict[str, list[Entry]]:
    with progress_bar(heading(arena), sum(map(len, policies.values()))) as step:
        # Only this scaler sees with delay and gaps: the peers see all.
        return {
            kind: sweep(
                arena, each, view=view if kind == "ours" else None, seed=seed,
                done=lambda: step(1.0),
            )
            for kind, each in policies.items()
        }  # fmt: skip


def record(arena: Arena, entry: Entry) -> dict[str, Any]:
    """One run as plain data."""
    return {
        "trace": arena.trace.name,
        "startup_s": arena.world.startup_s,
        "min": arena.minimum,
        "max": arena.maximum,
        "policy": entry.policy.kind,
        "settings": entry.policy.label,
        **entry.score.to_json(),
    }


def draw_frontier(arena: Arena, kinds: Mapping[str, Sequence[Entry]], folder: Path) -> None:
    """Write frontier.png."""
    from scaler.simulate import plots  # noqa: PLC0415 - matplotlib takes a second to load

    folder.mkdir(parents=True, exist_ok=True)
    plots.frontier(arena, kinds, folder / "frontier.png")


@contextmanager
def progress_bar(title: str, total: float) -> Iterator[Callable[[float], None]]:
    """A bar on stderr, where that is a terminal; yields what moves it on."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total)
        yield lambda amount: bar.advance(task, amount)


def _with_their_best(
    given: Mapping[str, Sequence[Entry]], every: Mapping[str, Sequence[Entry]]
) -> list[Entry]:
    """Of each kind what was given, then the best for each w; one may be the best for several."""
    shown: list[Entry] = []
    for kind, entries in given.items():
        for entry in [*entries, *(best(every[kind], weight) for weight in WEIGHTS)]:
            if entry not in shown:
                shown.append(entry)
    return shown


def _replayed(
    arena: Arena,
    policies: Mapping[str, Policy],
    view: ViewSettings,
    seed: int,
    with_lines: bool,
) -> tuple[dict[str, list[Entry]], dict[str, Timeline]]:
    kinds: dict[str, list[Entry]] = {}
    lines: dict[str, Timeline] = {}
    with progress_bar(heading(arena), len(policies)) as step:
        for kind, policy in policies.items():
            done = [0.0]

            def progressed(share: float, done: list[float] = done) -> None:
                step(share - done[0])
                done[0] = share

            lines[kind] = Timeline()
            score = run(
                arena,
                policy,
                view=view if kind == "ours" else None,
                seed=seed,
                timeline=lines[kind] if with_lines else None,
                progress=progressed,
            )
            kinds[kind] = [Entry(policy, score)]
    return kinds, lines


def _draw_lines(
    arena: Arena, policies: Mapping[str, Policy], lines: Mapping[str, Timeline], folder: Path
) -> None:
    from scaler.simulate import plots  # noqa: PLC0415 - matplotlib takes a second to load

    folder.mkdir(parents=True, exist_ok=True)
    # A fleet that never changes would only squeeze the others.
    moving = {kind: line for kind, line in lines.items() if kind != "fixed"} or lines
    named = {kind: (policies[kind].label, line) for kind, line in moving.items()}
    plots.timelines(arena, named, folder / "timeline.png")
