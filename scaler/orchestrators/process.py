"""Workers as plain processes of this machine: the demo's and the tests' orchestrator.

Each worker is noted in a file, so that a restarted scaler finds the workers of the one before.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from common.settings import Settings
from scaler.orchestrators.base import (
    FleetHandle,
    Orchestrator,
    OrchestratorError,
    Roster,
    roster,
)
from scaler.policy.observation import Fleet, Obstacle, Worker
from scaler.policy.target import Target

# A worker that dies this soon after its start died of starting.
_STILLBORN_S = 10.0
_RETRY_AFTER_S = 10.0
_STILLBORN = "workers die as they start; see their logs"


class ProcessSettings(Settings):
    """Of the local orchestrator."""

    worker_command: str = f"{shlex.quote(sys.executable)} -m worker run"
    worker_state: Path = Path(".run/workers")
    """Folder for the notes of running workers and for their logs."""
    graceful_shutdown_timeout: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """Seconds from SIGTERM to SIGKILL for a worker that is stuck. Default: that of `worker:` in the
    file."""

    @field_validator("worker_command")
    @classmethod
    def _splits(cls, value: str) -> str:
        try:
            words = shlex.split(value)
        except ValueError:
            words = []
        if not words:
            raise ValueError("a command, as a shell would split it into words")
        return value


@dataclass(frozen=True, slots=True)
class _Note:
    """One worker's file: enough to know the process again, even after its id was reused."""

    path: Path
    pid: int
    born: int
    """Start time in clock ticks since boot, from /proc."""
    at: float

    @property
    def alive(self) -> bool:
        return _birth(self.pid) == self.born


@dataclass(frozen=True, slots=True)
class _Processes(FleetHandle):
    """The live processes of one target."""

    facts: Fleet
    owner: Process
    target: Target
    notes: Mapping[str, _Note]
    """By what their workers call their task."""
    shown: Roster

    def scale_up(self, running: int, *, urgent: bool = False) -> str:
        """Start what is lacking."""
        self.refuse_if_held(urgent=urgent)
        draining = {self.notes[task] for task in self.shown.draining}
        lacking = running - sum(note not in draining for note in self.owner.living(self.target))
        for _ in range(lacking):
            self.owner.start(self.target)
        return f"started {max(lacking, 0)} workers of {self.target.service}"

    def victims(self, idle: Sequence[Worker], count: int, /) -> Sequence[Worker]:
        """Anybody idle of ours may go; who has been idle longest goes first."""
        leaving = sorted(idle, key=lambda worker: worker.since)
        return [worker for worker in leaving if worker.task in self.notes][:count]

    def reconcile(self) -> str | None:
        """End the stuck as a supervisor does: SIGTERM, and SIGKILL when the grace period is over.

        A process that has left by itself is not counted any more; nothing is to be done for it.
        """
        stuck = [note for task, note in self.notes.items() if task in self.shown.stuck]
        return "; ".join(filter(None, map(self.owner.end, stuck))) or None


class Process(Orchestrator):
    """One process a worker, started detached so that it survives the scaler."""

    def __init__(self, settings: ProcessSettings) -> None:
        self._command = shlex.split(settings.worker_command)
        self._folder = settings.worker_state
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._stillborn: dict[str, float] = {}
        self._grace_s = settings.graceful_shutdown_timeout
        self._stopped: dict[_Note, float] = {}

    def fleet(self, target: Target, workers: Sequence[Worker]) -> FleetHandle:
        """Count the live processes; who has not shown itself yet is starting."""
        notes = {str(note.pid): note for note in self.living(target)}
        shown = roster(notes, workers)
        failed_at = self._stillborn.get(target.name, 0.0)
        waiting = time.monotonic() - failed_at < _RETRY_AFTER_S if failed_at else False
        running = len(notes) - len(shown.draining)
        facts = Fleet(
            replicas=running,
            running=running,
            starting=len(shown.starting),
            draining=len(shown.draining),
            unhealthy=len(shown.stuck),
            hold=_STILLBORN if waiting else None,
            obstacle=_STILLBORN if waiting else None,
            obstacle_kind=Obstacle.CRASH_LOOP if waiting else None,
        )
        return _Processes(facts, self, target, notes, shown)

    def end(self, note: _Note) -> str:
        """Signal a stuck process, if it is time to; which signal it was, "" if it was none."""
        now = time.monotonic()
        self._stopped = {other: at for other, at in self._stopped.items() if other.alive}
        since = self._stopped.setdefault(note, now)
        if not note.alive or 0 < now - since <= self._grace_s:
            return ""
        name = signal.SIGTERM if since == now else signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(note.pid, name)
        return f"{name.name} to stuck {note.path.stem}"

    def living(self, target: Target) -> list[_Note]:
        """The processes of `target` that are there now; the notes of others are put away."""
        folder = self._folder / target.name
        living = []
        for path in sorted(folder.glob("*.json")):
            note = _read(path)
            if note is not None and note.alive:
                living.append(note)
            else:
                self._bury(target, note)
                path.unlink(missing_ok=True)
        return living

    def _bury(self, target: Target, note: _Note | None) -> None:
        child = self._children.pop(note.pid, None) if note else None
        failed = child is not None and child.poll() not in (0, None)
        if failed and note and time.time() - note.at < _STILLBORN_S:
            self._stillborn[target.name] = time.monotonic()

    def start(self, target: Target) -> None:
        """Start one worker of `target`."""
        folder = self._folder / target.name
        folder.mkdir(parents=True, exist_ok=True)
        worker_id = f"{target.name}-{secrets.token_hex(4)}"
        env = {**os.environ, "WORKER_ID": worker_id, "JOB_QUEUE": target.queue, "HTTP_PORT": "0"}
        try:
            with (folder / f"{worker_id}.log").open("ab") as log:
                child = subprocess.Popen(
                    self._command,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise OrchestratorError(f"a worker cannot be started: {error}") from error
        self._children[child.pid] = child
        content = {"pid": child.pid, "born": _birth(child.pid), "at": time.time()}
        path = folder / f"{worker_id}.json"
        scratch = path.with_suffix(".tmp")
        scratch.write_text(json.dumps(content))
        scratch.rename(path)


SETTINGS = ProcessSettings


def create(settings: ProcessSettings) -> Process:
    """Of what it is told."""
    return Process(settings)


def _read(path: Path) -> _Note | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(path.read_text())
        return _Note(path, int(content["pid"]), int(content["born"]), float(content["at"]))
    return None


def _birth(pid: int) -> int | None:
    """The process's start time in clock ticks since boot; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])
