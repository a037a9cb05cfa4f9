"""A comparison as a table for people."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from scaler.simulate.arena import Arena
from scaler.simulate.sweep import Entry


def table(arena: Arena, entries: Iterable[Entry], title: str = "") -> Table:
    """One row for each entry."""
    made = Table(title=title or heading(arena), title_justify="left")
    made.add_column("policy")
    made.add_column("settings")
    names = (
        "paid/C₀", "wait mean", "p50", "p95", "p99", "≤1 s", "≤30 s",
        "J(1)/C₀", "J(4)/C₀", "J(10)/C₀", "killed", "wasted h", "actions/h", "turns/h",
    )  # fmt: skip
    for name in names:
        made.add_column(name, justify="right")
    for entry in entries:
        made.add_row(*_row(entry))
    return made


def heading(arena: Arena) -> str:
    """What is compared."""
    return (
        f"{arena.trace.name}: {len(arena.trace):,} jobs, {arena.trace.span_s / 3600:.1f} h; "
        f"start-up {arena.world.startup_s:g} s, {arena.minimum} to {arena.maximum} workers; "
        f"C₀ = {arena.c0_s / 3600:.1f} worker-hours"
    )


def _row(entry: Entry) -> list[str]:
    score = entry.score
    waits = (score.wait_mean_s, score.wait_p50_s, score.wait_p95_s, score.wait_p99_s)
    return [
        entry.policy.kind,
        entry.policy.label,
        f"{score.paid_c0:.3f}",
        f"{waits[0]:.2f}",
        *(f"{wait:.1f}" for wait in waits[1:]),
        f"{score.started_1s:.1%}",
        f"{score.started_30s:.1%}",
        *(f"{cost:.3f}" for cost in (score.j1_c0, score.j4_c0, score.j10_c0)),
        str(score.killed),
        f"{score.wasted_s / 3600:.1f}",
        f"{score.actions_per_hour:.1f}",
        f"{score.turns_per_hour:.1f}",
    ]
