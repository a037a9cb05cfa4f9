"""The worker processes of a soak: started, killed, and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.soak.evidence import End

ROOT = Path(__file__).resolve().parents[2]
_LEAVES_WITHIN_S = 60.0


@dataclass
class Running:
    """A process; `name` is its own, `worker_id` may have been another's before."""

    name: str
    worker_id: str
    process: subprocess.Popen[bytes]


class Workers:
    """So many slots, each with a process. For any thread."""

    def __init__(self, folder: Path, environments: Sequence[Mapping[str, str]]) -> None:
        """One slot for each environment."""
        self._folder = folder
        self._environments = environments
        self._slots: dict[int, Running] = {}
        self._started = 0
        self._lock = threading.Lock()
        self._stopping = False
        self.ends: list[End] = []
        """The processes that have ended."""

    def __len__(self) -> int:
        return len(self._environments)

    def start(self) -> None:
        """Start them all."""
        with self._lock:
            for slot in range(len(self)):
                self._start(slot)

    def kill(self, slot: int, *, same_id: bool) -> None:
        """Kill what is in the slot, and start another under the same WORKER_ID or a new one."""
        with self._lock:
            if self._stopping:
                return
            running = self._slots[slot]
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()
                self._note(running, by_test=True, how="killed by the test")
            else:
                self._ended(running)
            self._start(slot, running.worker_id if same_id else None)

    def look(self) -> int:
        """Start anew what has ended without being told to; how many that were."""
        with self._lock:
            ended = [s for s, r in self._slots.items() if r.process.poll() is not None]
            if self._stopping:
                return 0
            for slot in ended:
                self._ended(self._slots[slot])
                self._start(slot, self._slots[slot].worker_id)
        return len(ended)

    def leave(self) -> None:
        """Ask all to leave, and see that they do."""
        with self._lock:
            self._stopping = True
            for running in self._slots.values():
                running.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _LEAVES_WITHIN_S
        for running in self._slots.values():
            try:
                code = running.process.wait(max(0.0, deadline - time.monotonic()))
                self._note(running, by_test=code == 0, how="asked to leave")
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()
                how = f"did not leave within {_LEAVES_WITHIN_S:.0f} s"
                self._note(running, by_test=False, how=how)
        self._slots.clear()

    def stop(self) -> None:
        """Kill whatever still runs."""
        with self._lock:
            self._stopping = True
            for running in self._slots.values():
                running.process.kill()
                running.process.wait()

    def log(self, name: str) -> Path:
        """Where the process of that name logs to."""
        return self._folder / f"{name}.log"

    def _start(self, slot: int, worker_id: str | None = None) -> None:
        self._started += 1
        name = f"p{self._started:03d}"
        worker_id = worker_id or f"soak-{self._started:03d}"
        env = {**os.environ, **self._environments[slot]}
        env |= {"WORKER_ID": worker_id, "SOAK_PROCESS": name, "SOAK_FOLDER": str(self._folder)}
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.launch"],
                env=env,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the soak alone
            )
        self._slots[slot] = Running(name, worker_id, process)

    def _ended(self, running: Running) -> None:
        # Its own job may have killed it, which the journal knows.
        self._note(running, by_test=False, how="ended by itself")

    def _note(self, running: Running, *, by_test: bool, how: str) -> None:
        code = running.process.returncode
        self.ends.append(End(time.time(), running.name, by_test, how, code))
