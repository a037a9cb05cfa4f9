"""Workers as plain processes of this machine: the demo's and the tests' orchestrator.

Each worker is noted in a file, so that a restarted scaler finds the workers of the one before. The
place for the note is taken before the worker is started, so that there is none without a note.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
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
_ABANDONED_S = 10.0
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
        present = sum(note not in draining for note in self.owner.living(self.target))
        lacking, done = max(0, running - present), 0
        try:
            for _ in range(lacking):
                self.owner.start(self.target)
                done += 1
        except OrchestratorError as error:
            if not done:
                raise
            raise OrchestratorError(f"{self._started(done)} of {lacking}; then {error}") from error
        return self._started(lacking)

    def _started(self, count: int) -> str:
        return f"started {count} workers of {self.target.service}"

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
        self._children: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
        """By process id, and when it was started."""
        self._stillborn: dict[str, float] = {}
        self._grace_s = settings.graceful_shutdown_timeout
        self._stopped: dict[_Note, float] = {}

    def fleet(self, target: Target, workers: Sequence[Worker] | None) -> FleetHandle:
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
        with _said(f"stuck {note.path.stem} cannot be ended"):
            self._stopped = {other: at for other, at in self._stopped.items() if other.alive}
            since = self._stopped.get(note, now)
            if not note.alive or 0 < now - since <= self._grace_s:
                return ""
            name = signal.SIGTERM if since == now else signal.SIGKILL
            self.fence()
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(note.pid, name)
        self._stopped[note] = since
        return f"{name.name} to stuck {note.path.stem}"

    def living(self, target: Target) -> list[_Note]:
        """The processes of `target` that are there now; the notes of others are put away."""
        folder = self._folder / target.name
        with _said(f"the workers noted in {folder} cannot be told"):
            names = sorted(os.listdir(folder)) if folder.is_dir() else []
            paths = [folder / name for name in names]
            notes = [_read(path) for path in paths if path.suffix == ".json"]
            notes += [_adopted(path) for path in paths if path.suffix == ".tmp"]
            return [note for note in notes if note and self._lives(target, note)]

    def _lives(self, target: Target, note: _Note) -> bool:
        if note.alive:
            return True
        child, started = self._children.pop(note.pid, (None, 0.0))
        failed = child is not None and child.poll() not in (0, None)
        if failed and time.monotonic() - started < _STILLBORN_S:
            self._stillborn[target.name] = time.monotonic()
        with contextlib.suppress(OSError):  # it is read, and known to be dead, again
            note.path.unlink()
        return False

    def start(self, target: Target) -> None:
        """Start one worker of `target`."""
        folder = self._folder / target.name
        worker_id = f"{target.name}-{secrets.token_hex(4)}"
        place = folder / f"{worker_id}.tmp"
        env = {**os.environ, "WORKER_ID": worker_id, "JOB_QUEUE": target.queue, "HTTP_PORT": "0"}
        with _said("a worker cannot be started"):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                _write(place, pid=0, born=0)
                self.fence()
                self._children.update(self._spawned(place, env))
            finally:
                with contextlib.suppress(OSError):
                    place.unlink(missing_ok=True)

    def _spawned(
        self, place: Path, env: Mapping[str, str]
    ) -> dict[int, tuple[subprocess.Popen[bytes], float]]:
        with place.with_suffix(".log").open("ab") as log:
            child = subprocess.Popen(
                self._command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            _write(place, pid=child.pid, born=_birth(child.pid) or 0)
            place.rename(place.with_suffix(".json"))
        except BaseException:
            # It has hardly begun; left to itself it would never be found again.
            child.kill()
            child.wait()
            raise
        return {child.pid: (child, time.monotonic())}


SETTINGS = ProcessSettings


def create(settings: ProcessSettings) -> Process:
    """Of what it is told."""
    return Process(settings)


@contextlib.contextmanager
def _said(what: str) -> Iterator[None]:
    """Turns what the system refuses into OrchestratorError."""
    try:
        yield
    except (OSError, subprocess.SubprocessError) as error:
        raise OrchestratorError(f"{what}: {error}") from error


def _write(path: Path, *, pid: int, born: int) -> None:
    """A note, always of the same length: written anew it needs no further room on the disk."""
    text = json.dumps({"pid": pid, "born": born}).ljust(80).encode()
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        if os.write(file, text) != len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.ftruncate(file, len(text))
    finally:
        os.close(file)


def _read(path: Path) -> _Note | None:
    """A note; None when nobody can be meant. Raises OSError where that is not certain."""
    try:
        content = json.loads(path.read_bytes())
        return _Note(path, int(content["pid"]), int(content["born"]))
    except FileNotFoundError:  # another scaler has put it away
        return None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return _found_again(path)


def _adopted(place: Path) -> _Note | None:
    """The note of a worker whose place was taken by a scaler that was killed right then."""
    try:
        abandoned = abs(time.time() - place.stat().st_mtime) > _ABANDONED_S
    except FileNotFoundError:
        return None
    return _found_again(place) if abandoned else None


def _found_again(path: Path) -> _Note | None:
    """The note of the process that has the id after which `path` is called, written anew; without
    such a process the file is removed."""
    pid = _pid_of(path.stem)
    born = _birth(pid) if pid else None
    if pid is None or born is None:
        path.unlink(missing_ok=True)
        return None
    _write(path, pid=pid, born=born)
    return _Note(path.rename(path.with_suffix(".json")), pid, born)


def _pid_of(worker_id: str) -> int | None:
    """The process that was started as this worker; what it starts itself is of its session."""
    for entry in Path("/proc").glob("[0-9]*/environ"):
        pid = int(entry.parent.name)
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            named = f"WORKER_ID={worker_id}".encode() in entry.read_bytes().split(b"\0")
            if named and os.getsid(pid) == pid:
                return pid
    return None


def _birth(pid: int) -> int | None:
    """The process's start time in clock ticks since boot; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])
