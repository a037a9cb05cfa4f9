"""Rendering with a progress bar, for people at a terminal."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from worker import scratch
from worker.jobs import Job
from worker.video.assemble import render
from worker.video.themes import Theme
from worker.video.voices import Voices


def render_with_bar(job: Job, theme: Theme, out: Path, voices: Voices, threads: int) -> float:
    """Render to `out`, which appears when it is whole; how long the video is, in seconds.

    Raises TransientError, also for a place that cannot be written, or PermanentError.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    part = scratch.part(out.parent, "render")
    try:
        part.touch()
        with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
            task = bar.add_task("starting", total=1.0)
            seconds = render(
                job,
                theme,
                part,
                voices=voices,
                threads=threads,
                report=lambda done, stage: bar.update(task, completed=done, description=stage),
            )
            bar.update(task, completed=1.0, description="done")
        part.replace(out)
    except OSError as error:
        raise scratch.unwritable(error, out) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return seconds
