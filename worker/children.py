"""What is known of a child process that has ended, in words for people."""

from __future__ import annotations

import os
import signal
from typing import IO


def how_it_ended(code: int) -> str:
    """What the exit code says, negative for a signal as in `Popen.returncode`."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def last_words(output: IO[bytes], most_bytes: int) -> str:
    """The end of what it wrote, in one line."""
    output.seek(max(0, output.seek(0, os.SEEK_END) - most_bytes))
    return " ".join(output.read().decode("utf-8", "replace").split())
