"""A renderer that makes a small whole video quickly, slowly, or not at all: as the title says.

Titles: `sleep S` seconds; `await PATH` until PATH exists; `transient`, `permanent`, `crash` or
`hang`; `once PATH` fails until PATH exists, and makes it. Every start is noted as a line in
`STANDIN_LOG`. Speaks the protocol of worker/renderer.py.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    request = json.load(sys.stdin)
    title = request["job"]["title"]
    if log := os.environ.get("STANDIN_LOG"):
        with Path(log).open("a") as file:
            file.write(f"{request['job']['job_id']} {os.getpid()}\n")
    word, _, rest = title.partition(" ")
    if word == "sleep":
        until = time.monotonic() + float(rest)
        while time.monotonic() < until:
            say(progress=0.5, stage="sleeping")
            time.sleep(0.1)
    elif word == "await":
        while not Path(rest).exists():
            say(progress=0.5, stage="waiting")
            time.sleep(0.1)
    elif word in ("transient", "permanent"):
        say(error={"permanent": word == "permanent", "message": f"a {word} problem"})
        return
    elif word == "crash":
        sys.stderr.write("something terrible\n")
        os.kill(os.getpid(), signal.SIGSEGV)
    elif word == "hang":
        subprocess.Popen(["sleep", "600"])  # what an encoder would be
        time.sleep(600)
    elif word == "once" and not Path(rest).exists():
        Path(rest).touch()
        say(error={"permanent": False, "message": "not the first time"})
        return
    shutil.copy(os.environ["STANDIN_VIDEO"], request["path"])
    say(result={"seconds": 1.0})


if __name__ == "__main__":
    main()
