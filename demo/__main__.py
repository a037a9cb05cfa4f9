"""`make demo`: a burst of twelve dialogues through the whole loop, on real parts."""

from __future__ import annotations

import argparse
import json
import secrets
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from common.errors import InvalidInputError
from common.ledger import Ledger
from demo import plot
from demo.processes import StartError, wait_until
from demo.queues import count_messages, declare
from demo.run_state import RunState
from demo.stack import ROOT, Stack
from demo.terminal import TerminalView, summary
from scaler.prometheus.client import Prometheus
from worker.jobs import JOB_QUEUE, RESULT_QUEUE, Job, parse_job

TARGET = "video-creator"
JOBS = ROOT / "demo/jobs"
_LOOK_EVERY_S = 0.3
_BURST_LIMIT_S = 240.0
_REST_LIMIT_S = 90.0
# By then Prometheus has seen the end too, and the plot shows it.
_SCRAPED_S = 4.0


def main() -> int:
    """Run the demo; 0 when all that it promises has happened, 1 otherwise, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="stay up until Ctrl-C")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".run/demo", help="emptied first (%(default)s)"
    )
    arguments = parser.parse_args()
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with Stack(arguments.folder) as stack:
            demo = Demo(stack, console)
            problems = demo.run()
            if arguments.keep:
                _keep(stack, console, demo.act_token)
            console.print("[dim]stopping all parts…[/dim]")
    except KeyboardInterrupt:
        console.print("\nstopped; all parts are down")
        return 130
    except (StartError, InvalidInputError) as error:
        console.print(f"[red]{error}[/red]")
        return 1
    for problem in problems:
        console.print(f"[red]✘ {problem}[/red]")
    if not problems:
        console.print(
            "[green]✔ all jobs done, each announced once; nothing is left running[/green]"
        )
    return 1 if problems else 0


class Demo:
    """One run on a stack."""

    def __init__(self, stack: Stack, console: Console) -> None:
        self._stack = stack
        self._console = console
        self.act_token = secrets.token_urlsafe(12)
        """Authorises to pause, resume and override on the status page."""
        self._prometheus = Prometheus(stack.prometheus_url)
        self._state = RunState(Ledger.connect(stack.redis_url), self._prometheus, TARGET)

    def run(self) -> list[str]:
        """Run it all; what failed."""
        jobs = [parse_job(path.read_bytes()) for path in sorted(JOBS.glob("*.json"))]
        started = time.time()
        self._start()
        self._submit(jobs)
        view = TerminalView(self._console, self._state)
        with view.shown():
            self._until(view, lambda: self._state.all_ended, _BURST_LIMIT_S)
            self._until(view, lambda: self._state.at_rest, _REST_LIMIT_S)
        time.sleep(_SCRAPED_S)
        picture = self._stack.folder / "burst.png"
        plot.draw(self._prometheus, TARGET, started, time.time(), picture)
        self._report(picture)
        return self._problems(jobs)

    def _start(self) -> None:
        say = self._console.print
        say("starting RabbitMQ, Redis, Prometheus and Alertmanager on loopback…")
        self._stack.start()
        declare(self._stack.rabbit_url, JOB_QUEUE)
        say("starting the exporter and the scaler…")
        self._stack.program("exporter")
        # Renderers share this machine with what measures them, so they yield to it.
        worker = f"nice -n 10 {shlex.quote(sys.executable)} -m worker run"
        self._stack.program(
            "scaler",
            {
                "ORCHESTRATOR": "process",
                "HISTORY_PATH": str(self._stack.folder / "scaler"),
                "WORKER_STATE": str(self._stack.folder / "workers"),
                "WORKER_COMMAND": worker,
                "HTTP_ACT_TOKEN": self.act_token,
            },
        )
        self._state.refresh()
        wait_until(self._first_worker, timeout_s=60, what="the first worker")

    def _first_worker(self) -> bool:
        self._state.refresh()
        return self._state.at_rest

    def _submit(self, jobs: list[Job]) -> None:
        self._console.print(f"sending a burst of {len(jobs)} dialogues to {JOB_QUEUE}")
        command = [sys.executable, "-m", "worker", "submit", *map(str, sorted(JOBS.glob("*.json")))]
        self._state.submitted(jobs)
        done = subprocess.run(
            command,
            env={**self._stack.parts["exporter"].env},
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise StartError(f"jobs could not be sent: {done.stderr.strip()}")

    def _until(self, view: TerminalView, reached: Callable[[], bool], limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            self._state.refresh()
            self._state.reason = self._reason()
            view.update()
            if reached():
                return
            time.sleep(_LOOK_EVERY_S)

    def _reason(self) -> str:
        """The scaler's own sentence."""
        url = f"{self._stack.scaler_url}/metrics/dashboard"
        try:
            with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310 - our own address
                status = json.load(response)["current_status"][TARGET]
        except (urllib.error.URLError, OSError, ValueError, KeyError):
            return self._state.reason
        return str(status["reason"]) if status else ""

    def _report(self, picture: Path) -> None:
        say = self._console.print
        say(summary(self._state))
        say(f"peak fleet {self._state.peak}, now {len(self._state.workers)}")
        say(f"videos  {self._stack.folder / 'videos'}")
        say(f"plot    {picture}")
        say(f"logs    {self._stack.logs}")

    def _problems(self, jobs: list[Job]) -> list[str]:
        found = []
        for job in jobs:
            video = self._stack.folder / "videos" / f"{job.job_id}.mp4"
            problem = _video_problem(video)
            if problem:
                found.append(f"{video.name}: {problem}")
        announced = count_messages(self._stack.rabbit_url, RESULT_QUEUE)
        if announced != len(jobs):
            found.append(f"{announced} messages in {RESULT_QUEUE} for {len(jobs)} jobs")
        if self._state.peak <= 1:
            found.append("the fleet did not grow")
        if not self._state.at_rest:
            found.append(f"the fleet did not come back to 1: {len(self._state.workers)} workers")
        return found


def _video_problem(path: Path) -> str | None:
    """Why `path` is no video of the promised kind, according to ffprobe; None when it is."""
    if not path.exists():
        return "missing"
    fields = "stream=codec_name,width,height"
    command = ["ffprobe", "-v", "error", "-show_entries", fields, "-of", "json", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        return done.stderr.strip() or "unreadable"
    streams = {stream["codec_name"]: stream for stream in json.loads(done.stdout)["streams"]}
    if set(streams) != {"h264", "aac"}:
        return f"streams {', '.join(sorted(streams))}; h264 and aac are promised"
    size = streams["h264"]["width"], streams["h264"]["height"]
    return None if size == (1080, 1920) else f"{size[0]}×{size[1]}; 1080×1920 is promised"


def _keep(stack: Stack, console: Console, act_token: str) -> None:
    console.print("\nstaying up; Ctrl-C ends it. To look at:")
    for name, url in (
        ("status page", stack.scaler_url),
        ("  act token", f"{act_token} (what its buttons ask for)"),
        ("exporter", f"{stack.exporter_url}/metrics"),
        ("Prometheus", stack.prometheus_url),
        ("Alertmanager", stack.alertmanager_url),
        ("RabbitMQ", f"{stack.management_url} (guest, guest)"),
    ):
        console.print(f"  {name:13}{url}")
    send = f"RABBIT_URL={stack.rabbit_url} .venv/bin/python -m worker submit demo/jobs/*.json"
    console.print(f"  send more:   {send}")
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print()


if __name__ == "__main__":
    raise SystemExit(main())
