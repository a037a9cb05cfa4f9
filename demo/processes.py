"""Child processes of the local stack: logged, waited for, and never left behind."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MARK = "AUTOSCALER_STACK"
"""Every process of a stack has this variable in its environment, and so have its children. By its
value they can be found again, also those that were detached on purpose."""


class StartError(RuntimeError):
    """A part did not become ready; the message ends with the last lines of its log."""


def wait_until(
    check: Callable[[], object], *, timeout_s: float, what: str, every_s: float = 0.1
) -> None:
    """Return once `check()` is true; raises StartError when it is not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline:
            raise StartError(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(every_s)


@dataclass
class Part:
    """One program of the stack, which can be stopped and started again."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    ready: Callable[[], bool] = field(default=lambda: True)
    timeout_s: float = 60.0
    cwd: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Part:
        """Start it; does not wait."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                list(self.command),
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.cwd,
                start_new_session=True,  # Ctrl-C is for the demo alone
            )
        return self

    def wait_ready(self) -> None:
        """Return once it is ready; raises StartError when it ends or stays silent."""

        def check() -> bool:
            if self.exit_code() is not None:
                raise StartError(f"{self.name} ended with {self.exit_code()}:\n{self.tail()}")
            return self.ready()

        try:
            wait_until(check, timeout_s=self.timeout_s, what=f"{self.name} ready")
        except StartError as error:
            raise StartError(f"{error}\n{self.tail()}") from None

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.process.poll() if self.process else None

    def stop(self, timeout_s: float = 15.0, sig: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end; after `timeout_s` kill it."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(sig)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def marked(stack_id: str) -> list[int]:
    """Process ids that carry the mark of this stack, this process itself left out."""
    needle = f"{MARK}={stack_id}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if needle in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def kill_marked(stack_id: str, grace_s: float = 5.0) -> int:
    """End every process of the stack, by SIGTERM first; how many there were."""
    first = marked(stack_id)
    for sig, patience in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        for pid in marked(stack_id):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)
        deadline = time.monotonic() + patience
        while marked(stack_id) and time.monotonic() < deadline:
            time.sleep(0.05)
    return len(first)


class Guardian:
    """Cleans up after this process should it die without doing so itself.

    It waits on a pipe: when the pipe closes, for whatever reason, it ends all that is marked.
    """

    def __init__(self, stack_id: str) -> None:
        env = {name: value for name, value in os.environ.items() if name != MARK}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "demo.processes", stack_id],
            stdin=subprocess.PIPE,
            env=env,
            cwd=Path(__file__).parent.parent,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """Let it clean up, and wait until it has."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()


def new_stack_id() -> str:
    """A mark that no other stack has."""
    return secrets.token_hex(8)


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    sys.stdin.buffer.read()
    kill_marked(sys.argv[1])
