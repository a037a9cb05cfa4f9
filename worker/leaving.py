"""Why and by when the worker leaves: signals, a drain request, the end of its host."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from common.http_client import HttpClient, OutgoingError
from common.logs import get

_POLL_S = 2.0
_ANSWER_S = 2.0
_MAX_BYTES = 65_536
_log = get("leaving")


class Leaving:
    """Whether the worker is to leave. That is final; the earliest deadline counts."""

    def __init__(self) -> None:
        # Plain attributes: a signal handler must not wait for a lock that its own thread holds.
        self.asked = False
        """Whether to take no further job."""
        self.reason = ""
        self._deadline: float | None = None

    @property
    def out_of_time(self) -> bool:
        """Whether even a running job must be given back."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def ask(self, reason: str, grace_s: float | None = None) -> None:
        """Leave after the job in hand, or at the latest when `grace_s` seconds are nearly over."""
        if grace_s is not None:
            # The rest is for killing the renderer, giving the job back and reporting it.
            deadline = time.monotonic() + grace_s - min(5.0, grace_s / 5)
            if self._deadline is None or deadline < self._deadline:
                self._deadline = deadline
        if not self.asked:
            self.reason, self.asked = reason, True

    def on_signals(self, grace_s: float) -> None:
        """Leave on SIGTERM and SIGINT. Further ones change nothing, not even the deadline."""
        seen: set[int] = set()

        def handle(number: int, _: FrameType | None) -> None:
            if not seen:
                self.ask(signal.Signals(number).name, grace_s)
            seen.add(number)

        signal.signal(signal.SIGTERM, handle)
        signal.signal(signal.SIGINT, handle)

    def on_notice(self, notice: str, grace_s: float) -> None:
        """Leave when `notice`, a file or a URL, announces the end of the host."""

        def watch() -> None:
            while not self.asked:
                if noticed(notice):
                    self.ask("the host is to be taken away", grace_s)
                time.sleep(_POLL_S)

        threading.Thread(target=watch, name="interruption", daemon=True).start()


def noticed(notice: str) -> bool:
    """Whether the file exists, or the URL answers 200."""
    if not notice.startswith(("http://", "https://")):
        return Path(notice).exists()
    parts = urlsplit(notice)
    client = HttpClient(
        "the notice", f"{parts.scheme}://{parts.netloc}", timeout_s=_ANSWER_S, max_bytes=_MAX_BYTES
    )
    try:
        where = parts.path + (f"?{parts.query}" if parts.query else "")
        return client.request("GET", where).status == 200
    except OutgoingError as error:
        _log.debug("interruption notice cannot be asked", reason=str(error))
        return False
    finally:
        client.close()
