"""Pictures of a comparison: who pays what for which waiting, and what happened when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from scaler.simulate.arena import Arena, Timeline
from scaler.simulate.sweep import Entry

NAMES = {
    "ours": "this scaler",
    "keda": "KEDA + Kubernetes HPA",
    "plan": "threshold rule",
    "fixed": "fixed fleet",
}
_COLOURS = {"ours": "#0b6e4f", "keda": "#c8553d", "plan": "#7d5ba6", "fixed": "#777777"}
_MARKS = {"ours": "o", "keda": "s", "plan": "^", "fixed": "D"}
_POINTS = 1500
_NEAR_HOURS = 2.0
_NEAR_SHARE = 1 / 6
"""So long, but no more than that share of the whole, is shown closer."""
_DEAREST = 2.5
"""Costs above so many times the clairvoyant's are named, not drawn: they would squeeze the rest."""
_SHORTEST_S = 0.01
"""Shorter mean waits are drawn here, since a logarithmic axis has no 0."""


def frontier(arena: Arena, kinds: Mapping[str, Sequence[Entry]], path: Path) -> None:
    """Cost against waiting: every setting a point, the best of each policy joined by a line."""
    figure = _figure(9, 6)
    axes = figure.subplots()
    shown = [_point(entry) for entries in kinds.values() for entry in entries]
    left = min(0.95, min(cost for cost, _ in shown) - 0.05)
    right = max([cost for cost, _ in shown if cost <= _DEAREST], default=_DEAREST) + 0.1
    for kind, entries in kinds.items():
        _settings(axes, kind, entries, right)
    axes.axvline(1.0, color="black", linestyle=":", linewidth=1)
    floor = min([wait for cost, wait in shown if cost <= right], default=1.0) / 3
    axes.plot(
        1.0,
        floor / 1.6,
        marker="*",
        markersize=16,
        color="#e0a100",
        linestyle="none",
        label="clairvoyant: adds no waiting (0 s, drawn at the bottom)",
    )
    axes.set_yscale("log")
    axes.set_ylim(bottom=floor / 2.5)
    axes.set_xlim(left, right)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}×"))
    axes.yaxis.set_major_formatter(FuncFormatter(_seconds))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("cost: worker-hours paid, as a multiple of the clairvoyant's")
    axes.set_ylabel("mean wait of a job for a worker")
    axes.set_title(f"What waiting costs — lower and further left is better\n{_about(arena)}")
    axes.grid(which="both", alpha=0.2)
    figure.legend(loc="outside lower center", fontsize=9, ncols=2)
    _save(figure, path)


def _settings(axes: Axes, kind: str, entries: Sequence[Entry], right: float) -> None:
    """One policy's points, and what to call them."""
    points = [_point(entry) for entry in entries]
    colour, mark = _COLOURS[kind], _MARKS[kind]
    costs, waits = zip(*points, strict=True)
    axes.scatter(costs, waits, s=14, color=colour, marker=mark, alpha=0.25)
    front = undominated(points)
    label = f"{NAMES[kind]}: {entries[0].policy.label}"
    if len(entries) > 1:
        label = f"{NAMES[kind]}: best settings, others fainter"
    if front[0][0] > right:
        label += f" — further right, at {front[0][0]:.3g}×"
    axes.plot(
        *zip(*front, strict=True),
        color=colour,
        marker=mark,
        markersize=5,
        linewidth=2 if len(front) > 1 else 0,
        label=label,
    )


def _point(entry: Entry) -> tuple[float, float]:
    """(cost, wait); a logarithmic axis has no 0."""
    return entry.score.paid_c0, max(entry.score.wait_mean_s, _SHORTEST_S)


def _seconds(value: float, _: int | None) -> str:
    return f"≤ {value:g} s" if value <= _SHORTEST_S else f"{value:g} s"


def undominated(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those of (cost, wait) that no other beats in both, by rising cost."""
    front: list[tuple[float, float]] = []
    for point in sorted(points):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def timelines(arena: Arena, lines: Mapping[str, tuple[str, Timeline]], path: Path) -> None:
    """Queue and fleet over time, one row for each policy: kind -> (settings, what happened).

    The whole on the left, what is round the highest load on the right.
    """
    figure = _figure(14, 3.0 * len(lines))
    rows = figure.subplots(
        len(lines), 2, sharex="col", sharey=True, squeeze=False, width_ratios=(3, 2)
    )
    middle, near_h = _busiest(arena), min(_NEAR_HOURS, _NEAR_SHARE * arena.pool.horizon_s / 3600)
    for (whole, near), (kind, (label, line)) in zip(rows, lines.items(), strict=True):
        at = np.array(line.at) / 3600
        _row(whole, line, np.ones(len(at), dtype=bool))
        _row(near, line, np.abs(at - middle) <= near_h / 2)
        whole.set_title(f"{NAMES[kind]} ({label})", loc="left", fontsize=10)
        near.set_title(f"the busiest {near_h * 60:.0f} minutes of it", loc="left", fontsize=10)
        whole.set_ylabel("workers, jobs")
    rows[0, 0].set_ylim(
        0, 1.05 * max(max(*line.total, *line.waiting) for _, line in lines.values())
    )
    figure.legend(
        *rows[0, 0].get_legend_handles_labels(), loc="outside lower center", fontsize=10, ncols=3
    )
    for axes in rows[-1]:
        axes.set_xlabel("hours since the first job")
    figure.suptitle(f"Jobs and workers over time\n{_about(arena)}")
    _save(figure, path)


def _busiest(arena: Arena) -> float:
    """When most workers of the always-on pool are busy, in hours."""
    times = np.concatenate((arena.pool.starts, arena.pool.ends))
    steps = np.repeat((1, -1), len(arena.pool.starts))
    order = np.argsort(times, kind="stable")
    return float(times[order][np.argmax(np.cumsum(steps[order]))]) / 3600


def _row(axes: Axes, line: Timeline, chosen: NDArray[np.bool_]) -> None:
    hours = np.array(line.at)[chosen] / 3600
    total, busy, waiting = (np.array(e)[chosen] for e in (line.total, line.busy, line.waiting))
    # A long trace has more ticks than pixels: of each stretch the highest value is drawn.
    step = max(1, len(hours) // _POINTS)
    at = hours[::step]
    groups = np.arange(0, len(hours), step)
    paid, worked, waited = (np.maximum.reduceat(e, groups) for e in (total, busy, waiting))
    axes.fill_between(
        at, worked, step="post", color="#0b6e4f", alpha=0.35, lw=0, label="workers with a job"
    )
    axes.step(at, paid, where="post", color="black", linewidth=1, label="workers paid for")
    axes.step(at, waited, where="post", color="#c8553d", linewidth=1, label="jobs waiting")
    axes.margins(x=0)
    axes.grid(alpha=0.2)


def _about(arena: Arena) -> str:
    jobs, days = len(arena.trace), arena.trace.span_s / 86_400
    span = f"{days:.1f} days" if days >= 1 else f"{days * 24:.1f} hours"
    return (
        f"{arena.trace.name}: {jobs:,} jobs in {span}, a worker starts in "
        f"{arena.world.startup_s:g} s, {arena.minimum} to {arena.maximum} workers"
    )


def _figure(width: float, height: float) -> Figure:
    """In inches, and without a window system."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=120)
