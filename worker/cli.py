"""The worker's command line: `run`, `submit`, `render`, `dead list|show|requeue|drop`."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from common.errors import ConfigError, InvalidInputError, cut, printable, shorten
from common.settings import load, or_exit
from worker.dead import Choice, Parked, ParkedJobs
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

_SHOWN_BYTES = 16_384
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
        job, error = _line(entry.job_id or "-", 130), _line(entry.error)
        typer.echo(f"{number:>4}  {job:<40}  {len(entry.history)} attempts  {error}")
    if not parked:
        typer.echo("nothing is parked")


@dead.command()
def show(which: Annotated[str, typer.Argument(help="Job id or number.")]) -> None:
    """Show one parked job with its history and body."""
    with _job_queue() as queue:
        parked = ParkedJobs(queue).all()
    for place in sorted(_places([which], parked)):
        entry = parked[place]
        typer.echo(f"job      {_line(entry.job_id or '(none that can be read)')}")
        typer.echo(f"error    {_line(entry.error)}")
        for step in entry.history:
            number, at, by, error = (step.get(k, "") for k in ("attempt", "at", "worker", "error"))
            typer.echo(_line(f"attempt  {number}  {at or '?'}  {by or '?'}  {error}"))
        typer.echo(f"body     {_body(entry.body)}")


@dead.command()
def requeue(which: Chosen = None, every: All = False) -> None:
    """Return parked jobs to the job queue, as if they were new."""
    choose = _choice(which, every)
    with _job_queue() as queue:
        count = ParkedJobs(queue).requeue(choose)
    typer.echo(f"{count} handed back")


@dead.command()
def drop(which: Chosen = None, every: All = False) -> None:
    """Delete parked jobs."""
    choose = _choice(which, every)
    with _job_queue() as queue:
        count = ParkedJobs(queue).drop(choose)
    typer.echo(f"{count} dropped")


def _choice(which: list[str] | None, every: bool) -> Choice:
    if bool(which) == every:
        _fail("name jobs, or say --all", 2)
    return lambda parked: range(len(parked)) if every else _places(which or [], parked)


def _places(names: Sequence[str], parked: Sequence[Parked]) -> set[int]:
    """Where in `parked` those are that are meant; a job's id comes before a number."""
    found: set[int] = set()
    for name in names:
        places = {place for place, entry in enumerate(parked) if entry.job_id == name}
        numbered = {place for place in range(len(parked)) if name == str(place + 1)}
        if not (places or numbered):
            _fail(f"no parked job {shorten(name)}", 1)
        found |= places or numbered
    return found


def _line(text: str, limit: int = 1_000) -> str:
    return cut(printable(text[: limit + 1]), limit)


def _body(body: bytes) -> str:
    """A body as text of bounded length, its further lines indented."""
    text = body[:_SHOWN_BYTES].decode("utf-8", "backslashreplace")
    shown = "\n         ".join(map(printable, text.split("\n")))
    rest = len(body) - _SHOWN_BYTES
    return f"{shown}\n         … and {rest} further bytes" if rest > 0 else shown


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
