"""The shipped worker with a cheap renderer, and a storage that keeps a journal of what it does."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from unittest import mock

from common import logs
from common.errors import ConfigError
from tests.soak.standin import note
from worker.handler import JobHandler
from worker.messages import Delivery
from worker.program import WorkerProgram
from worker.settings import load_settings
from worker.storage import FolderStorage

_POISON = re.compile(rb"poison-\d{5}")
STANDIN = Path(__file__).with_name("standin.py")


class WatchedStorage(FolderStorage):
    """Notes when a worker looked for a result, and when it had stored one."""

    def has_whole(self, job_id: str) -> bool:
        note("look", job_id)
        return super().has_whole(job_id)

    def keep(self, job_id: str, made: Path) -> str:
        path = super().keep(job_id, made)
        note("kept", job_id)
        return path


class WatchedHandler(JobHandler):
    """Notes what it takes, also where the message is none that a log could name."""

    def handle(self, delivery: Delivery) -> None:
        found = _POISON.search(delivery.body)
        if found:
            note("look", found.group().decode())
        super().handle(delivery)


def main() -> None:
    """As `worker run`."""
    settings = load_settings()
    logs.configure("worker", settings.log_level, terminal=False)
    with (
        mock.patch("worker.program.open_storage", lambda place: WatchedStorage(Path(place))),
        mock.patch("worker.program.JobHandler", WatchedHandler),
    ):
        program = WorkerProgram(settings, (sys.executable, "-I", "-S", str(STANDIN)))
    try:
        program.run()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
