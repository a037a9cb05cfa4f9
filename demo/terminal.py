"""The live terminal view and the summary."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from common.records import WorkerState
from demo.run_state import JobSeen, RunState
from worker.job_status import Status

_STATE_COLOURS = {
    WorkerState.STARTING: "yellow",
    WorkerState.IDLE: "cyan",
    WorkerState.BUSY: "green",
    WorkerState.DRAINING: "magenta",
}
_LINE_EVERY_S = 3.0


class TerminalView:
    """Shows a run: a live picture on a terminal, a line every few seconds elsewhere."""

    def __init__(self, console: Console, state: RunState) -> None:
        self._console = console
        self._state = state
        self._started = time.monotonic()
        self._live: Live | None = None
        self._last_line = 0.0
        self._last_said = ""

    @contextmanager
    def shown(self) -> Iterator[TerminalView]:
        """While inside, `update()` shows the present state."""
        if not self._console.is_terminal:
            yield self
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            self._live = live
            yield self
        self._live = None

    def update(self) -> None:
        """Show the present state of the run."""
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
            return
        line = self._line()
        changed = line != self._last_said
        if changed and time.monotonic() - self._last_line >= _LINE_EVERY_S:
            self._last_line, self._last_said = time.monotonic(), line
            elapsed = time.monotonic() - self._started
            self._console.print(f"{elapsed:4.0f} s  {line}", highlight=False, soft_wrap=True)

    def _line(self) -> str:
        run = self._state
        states = ", ".join(f"{count} {state}" for state, count in sorted(run.states.items()))
        done = run.by_status[Status.DONE]
        return (
            f"waiting {_or_unknown(run.waiting)}, in progress "
            f"{run.by_status[Status.RENDERING]}, done {done} of {len(run.jobs)}; "
            f"workers: {states or 'none'}; target {_or_unknown(run.target_replicas)}"
            + (f"; {run.reason}" if run.reason else "")
        )

    def _picture(self) -> RenderableType:
        run = self._state
        head = Table.grid(padding=(0, 3))
        head.add_row(
            f"waiting [b]{_or_unknown(run.waiting)}[/b]",
            f"in progress [b]{run.by_status[Status.RENDERING]}[/b]",
            f"done [b]{run.by_status[Status.DONE]}[/b] of {len(run.jobs)}",
            f"target [b]{_or_unknown(run.target_replicas)}[/b]",
            f"{time.monotonic() - self._started:.0f} s",
        )
        fleet = Text("fleet   ")
        for worker in run.workers:
            fleet.append("■ ", style=_STATE_COLOURS[worker.status])
        for state, count in sorted(run.states.items()):
            fleet.append(f"  {count} {state}", style=_STATE_COLOURS[state])
        jobs = Table.grid(padding=(0, 2))
        for seen in run.jobs.values():
            jobs.add_row(*self._job_row(seen))
        reason = Text(f"reason  {run.reason}", style="dim")
        return Panel(Group(head, "", fleet, "", jobs, "", reason), title="RabbitReels autoscaler")

    @staticmethod
    def _job_row(seen: JobSeen) -> tuple[RenderableType, ...]:
        style = {Status.DONE: "green", Status.ERROR: "red"}.get(seen.status, "")
        return (
            Text(seen.job.job_id, style=style),
            ProgressBar(total=1.0, completed=seen.progress, width=24),
            Text(seen.stage or str(seen.status), style=style),
            Text(seen.worker, style="dim"),
        )


def summary(run: RunState) -> Table:
    """Per job: how long it waited, how long it took, and by whom."""
    table = Table(title="Jobs")
    for column in ("job", "waited", "rendered", "by", "result"):
        table.add_column(column, overflow="fold")
    for seen in run.jobs.values():
        table.add_row(
            seen.job.job_id,
            _seconds(seen.waited_s),
            _seconds(seen.rendered_s),
            seen.worker,
            seen.error or str(seen.status),
        )
    return table


def _or_unknown(value: int | None) -> str:
    return "unknown" if value is None else str(value)


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"
