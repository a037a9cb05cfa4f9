"""A renderer that makes a video of three empty boxes, as its job's title says; see plan.py.

Run as `python -I -S`: it imports only what is there anyway, since ten thousand are started. Speaks
the protocol of worker/renderer.py and writes a line to the journal of the soak.
"""

import os
import signal
import sys
import time

VIDEO = b"".join((8).to_bytes(4, "big") + kind for kind in (b"ftyp", b"moov", b"mdat"))


def main() -> None:
    """Do as the title says."""
    request = sys.stdin.read()
    job_id = text_of(request, "job_id")
    note("render", job_id)
    word, count, seconds = text_of(request, "title").split()
    if word == "permanent":
        say('{"error": {"permanent": true, "message": "a permanent problem"}}')
        return
    time.sleep(float(seconds))
    if word != "good" and tries(job_id) <= int(count):
        if word == "transient":
            say('{"error": {"permanent": false, "message": "a transient problem"}}')
            return
        worker = int(os.environ["WORKER_PID"])
        if worker == os.getppid():  # else it has died already, and its number may be another's
            note("murder", job_id)
            os.kill(worker, signal.SIGKILL)
        return
    with open(text_of(request, "path"), "wb") as file:
        file.write(VIDEO)
    say('{"result": {"seconds": 1.0}}')


def text_of(request: str, name: str) -> str:
    """A field of the request, without a parser."""
    return request.partition(f'"{name}":')[2].split('"', 2)[1]


def tries(job_id: str) -> int:
    """How often the job was rendered, this time included: the size of a file."""
    path = os.path.join(os.environ["SOAK_FOLDER"], f"tries.{job_id}")
    append(path, b".")
    return os.stat(path).st_size


def note(what: str, job_id: str) -> None:
    """Write to the journal, from whichever process: lines are short enough to stay whole."""
    line = f"{time.time():.6f} {what} {job_id} {os.environ['SOAK_PROCESS']}\n"
    append(os.path.join(os.environ["SOAK_FOLDER"], "journal"), line.encode())


def append(path: str, content: bytes) -> None:
    """Add to a file in one step."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, content)
    os.close(descriptor)


def say(line: str) -> None:
    """Tell the worker."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
