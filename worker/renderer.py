"""The process that renders: started for one job, supervised, and killed with all its children.

It writes JSON, one object a line: `{"progress": 0..1, "stage": str}` any number of times, then
`{"result": {…}}` or `{"error": {"permanent": bool, "message": str}}`. Anything else
goes to stderr, whose end becomes part of the error message.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

from worker import scratch
from worker.children import how_it_ended, last_words
from worker.errors import JobError, PermanentError, TransientError

RENDER_ARGV = (sys.executable, "-m", "worker.video.child")
_POLL_S = 0.2
_TAIL_BYTES = 600
_MAX_LINE_BYTES = 1_000_000

Report = Callable[[float, str], None]
Check = Callable[[], JobError | None]


class Renderer:
    """One rendering process at a time."""

    def __init__(self, argv: Sequence[str], *, timeout_s: float) -> None:
        self._argv = list(argv)
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while there is one."""
        process = self._process
        return process.pid if process else None

    def run(self, request: Mapping[str, Any], report: Report, check: Check) -> dict[str, Any]:
        """Render `request`; the result that the process reports.

        `check` is called several times a second and may return a reason to stop. Raises that
        reason, TransientError when the process died, could not start or took longer than the
        timeout, and the error that the process itself reports.
        """
        # All that it writes by the way lies in a folder that goes with it, however it ends.
        with scratch.scratch_folder() as folder, ExitStack() as opened:
            try:
                # Files without a name: the request may hold a secret.
                stdin = opened.enter_context(tempfile.TemporaryFile(dir=folder))
                stderr = opened.enter_context(tempfile.TemporaryFile(dir=folder))
                stdin.write(json.dumps(request).encode())
                stdin.seek(0)
            except OSError as error:
                raise scratch.unwritable(error, folder) from error
            return self._supervise(folder, stdin, stderr, report, check)

    def _supervise(
        self, folder: Path, stdin: IO[bytes], stderr: IO[bytes], report: Report, check: Check
    ) -> dict[str, Any]:
        output, child_end = os.pipe()
        try:
            process = self._start(folder, stdin, child_end, stderr)
        except OSError as error:
            os.close(output)
            raise TransientError(f"the renderer could not be started: {error}") from error
        finally:
            os.close(child_end)
        try:
            return self._follow(_Lines(output), report, check)
        except EOFError:
            raise TransientError(_cause_of_death(process, stderr)) from None
        finally:
            self._end(process)
            os.close(output)

    def _start(
        self, folder: Path, stdin: IO[bytes], stdout: int, stderr: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            self._argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            env={**os.environ, "WORKER_PID": str(os.getpid()), "TMPDIR": str(folder)},
        )
        return self._process

    def _follow(self, lines: _Lines, report: Report, check: Check) -> dict[str, Any]:
        deadline = time.monotonic() + self._timeout_s
        while True:
            for message in lines.read(_POLL_S):
                if "result" in message:
                    return dict(message["result"])
                if "error" in message:
                    kind = PermanentError if message["error"]["permanent"] else TransientError
                    raise kind(message["error"]["message"])
                report(float(message["progress"]), str(message["stage"]))
            reason = check()
            if reason is not None:
                raise reason
            if time.monotonic() > deadline:
                raise TransientError(f"not finished after {self._timeout_s:g} s (JOB_TIMEOUT)")

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Kill what is left of its process group, the encoder included."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._process = None


class _Lines:
    """JSON objects from a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""

    def read(self, timeout_s: float) -> list[dict[str, Any]]:
        """What arrived within that time. Raises EOFError at the end of the pipe."""
        if not select.select([self._descriptor], [], [], timeout_s)[0]:
            return []
        chunk = os.read(self._descriptor, 65_536)
        if not chunk:
            raise EOFError
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _MAX_LINE_BYTES:
            raise TransientError("the renderer's output is not JSON")
        try:
            return [json.loads(line) for line in lines if line.strip()]
        except ValueError as error:
            raise TransientError("the renderer's output is not JSON") from error


def _cause_of_death(process: subprocess.Popen[bytes], stderr: IO[bytes]) -> str:
    how, tail = how_it_ended(process.wait()), last_words(stderr, _TAIL_BYTES)
    return f"the renderer {how}" + (f": …{tail}" if tail else "")
