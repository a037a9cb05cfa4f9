"""The worker's command line: `run`, `submit`, `render`, `dead list|show|requeue|drop`."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from common.errors import ConfigError, InvalidInputError
from common.settings import load, or_exit
from worker.dead import Parked, ParkedJobs
from worker.errors import JobError
from worker.job_queue import BrokerError, JobQueue
from worker.jobs import Job, parse_job
from worker.scratch import sweep
from worker.settings import VoiceSettings, WorkerSettings, load_settings
from worker.video.themes import Catalogue

app = typer.Typer(
    name="worker",
    help="Takes dialogues from the job queue, one at a time, and makes videos of them.",
    no_args_is_help=True,
    add_completion=False,
    # Among them are settings, and so secrets.
    pretty_exceptions_show_locals=False,
)
dead = typer.Typer(help="Work on the jobs that were parked.", no_args_is_help=True)
app.add_typer(dead, name="dead")

Chosen = Annotated[
    list[str] | None, typer.Argument(help="Job ids; or the numbers that `dead list` shows.")
]
All = Annotated[bool, typer.Option("--all", help="Every parked job.")]


@app.command()
def run() -> None:
    """Work until asked to leave. Settings come from the environment, see docs/worker.md."""
    from worker.program import main

    main()


@app.command()
def submit(files: list[Path]) -> None:
    """Publish the jobs in FILES to the job queue. Nothing is sent unless all are sound."""
    jobs = [(path, _read(path)) for path in files]
    with _job_queue() as queue:
        for path, job in jobs:
            queue.submit(path.read_bytes())
            typer.echo(f"submitted {job.job_id}")


@app.command()
def render(
    file: Path,
    out: Annotated[Path, typer.Option("--out", "-o", help="The video to write.")],
    threads: Annotated[int, typer.Option(min=1, max=64)] = 2,
    themes: Annotated[Path | None, typer.Option(help="A folder of themes of your own.")] = None,
) -> None:
    """Render the job in FILE without any queue."""
    from worker.progress import render_with_bar
    from worker.video.voices import Voices

    job = _read(file)
    if out.is_dir() or not out.parent.is_dir():
        _fail(f"--out: {_shown(out)} is not a file's name in a folder that exists", 2)
    # So that what is unfinished is removed then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for folder in {Path(tempfile.gettempdir()), out.parent}:
        sweep(folder)
    voices = Voices(*or_exit(lambda: load(VoiceSettings)).for_voices())
    try:
        catalogue = Catalogue.load(themes)
        catalogue.check(job)
        seconds = render_with_bar(job, catalogue.theme(job), out, voices, threads)
    except InvalidInputError as error:
        _fail(str(error), 2)
    except JobError as error:
        _fail(str(error), 1)
    typer.echo(f"{_shown(out)}: {seconds:.1f} s of video")


def _shown(path: Path) -> str:
    """The path with what is no UTF-8 replaced, since that can't be printed."""
    return os.fsencode(path).decode(errors="replace")


@dead.command("list")
def list_() -> None:
    """Show what is parked, oldest first."""
    with _job_queue() as queue:
        parked = ParkedJobs(queue).all()
    for number, entry in enumerate(parked, start=1):
        attempts = len(entry.history)
        typer.echo(f"{number:>4}  {entry.job_id or '-':<40}  {attempts} attempts  {entry.error}")
    if not parked:
        typer.echo("nothing is parked")


@dead.command()
def show(which: Annotated[str, typer.Argument(help="Job id or number.")]) -> None:
    """Show one parked job with its history and body."""
    with _job_queue() as queue:
        parked = ParkedJobs(queue).all()
    found = [entry for n, entry in enumerate(parked, start=1) if _is(which, n, entry)]
    if not found:
        _fail(f"no parked job {which!r}", 1)
    for entry in found:
        typer.echo(f"job      {entry.job_id or '(none that can be read)'}")
        typer.echo(f"error    {entry.error}")
        for step in entry.history:
            when, by = step.get("at", "?"), step.get("worker", "?")
            typer.echo(
                f"attempt  {step.get('attempt', '?')}  {when}  {by}  {step.get('error', '')}"
            )
        typer.echo(f"body     {entry.body.decode('utf-8', 'backslashreplace')}")


@dead.command()
def requeue(which: Chosen = None, every: All = False) -> None:
    """Return parked jobs to the job queue, as if they were new."""
    with _job_queue() as queue:
        count = ParkedJobs(queue).requeue(_choice(which, every))
    typer.echo(f"{count} handed back")


@dead.command()
def drop(which: Chosen = None, every: All = False) -> None:
    """Delete parked jobs."""
    with _job_queue() as queue:
        count = ParkedJobs(queue).drop(_choice(which, every))
    typer.echo(f"{count} dropped")


def _choice(which: list[str] | None, every: bool) -> Callable[[Parked], bool]:
    if bool(which) == every:
        _fail("name jobs, or say --all", 2)
    numbers = iter(range(1, sys.maxsize))

    def chosen(parked: Parked) -> bool:
        number = next(numbers)
        return every or any(_is(name, number, parked) for name in which or [])

    return chosen


def _is(name: str, number: int, parked: Parked) -> bool:
    return name in (parked.job_id, str(number))


def _read(path: Path) -> Job:
    try:
        return parse_job(path.read_bytes())
    except OSError as error:
        _fail(f"{path}: {error.strerror}", 2)
    except InvalidInputError as error:
        _fail(f"{path}: {error}", 2)


@contextmanager
def _job_queue() -> Iterator[JobQueue]:
    settings: WorkerSettings = or_exit(load_settings)
    try:
        with JobQueue.connect(settings) as queue:
            yield queue
    except ConfigError as error:
        _fail(f"invalid configuration: {error}", 2)
    except BrokerError as error:
        _fail(str(error), 1)


def _fail(message: str, code: int) -> NoReturn:
    sys.stderr.write(message + "\n")
    raise SystemExit(code)
