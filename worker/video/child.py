"""`python -m worker.video.child`: renders the one job given on stdin. See worker/renderer.py."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Read the request, render, report the result."""
    _die_with_the_worker()
    # What libraries and programs print must not get between the reports.
    say = partial(_say, os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    say(progress=0.0, stage="starting the renderer")
    try:
        say(result={"seconds": _render(request, say)})
    except Exception as error:
        say(error=_described(error))


def _render(request: dict[str, Any], say: Callable[..., None]) -> float:
    # Heavy, so only after the first report to the worker.
    from worker.jobs import Job
    from worker.video.assemble import render
    from worker.video.themes import Catalogue
    from worker.video.voices import Voices

    job = Job.model_validate(request["job"])
    themes = request["themes"]
    catalogue = Catalogue.load(Path(themes) if themes else None)
    catalogue.check(job)
    return render(
        job,
        catalogue.theme(job),
        Path(request["path"]),
        voices=Voices(*request["voices"]),
        threads=request["threads"],
        report=lambda progress, stage: say(progress=progress, stage=stage),
    )


def _described(error: Exception) -> dict[str, Any]:
    from common.errors import InvalidInputError
    from worker.errors import JobError, PermanentError

    permanent = isinstance(error, PermanentError | InvalidInputError)
    known = permanent or isinstance(error, JobError)
    message = str(error) if known else f"{type(error).__name__}: {error}"
    return {"permanent": permanent, "message": message[:1000]}


def _say(reports: IO[str], **message: Any) -> None:
    reports.write(json.dumps(message) + "\n")
    reports.flush()


def _die_with_the_worker() -> None:
    """Be killed when the worker dies, and be the first to go when memory runs out."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.environ.get("WORKER_PID") not in (None, str(os.getppid())):
        raise SystemExit(1)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")


if __name__ == "__main__":
    main()
