"""Parts that end as in a power cut: at once, and with all that they had started."""

from __future__ import annotations

import os
import signal

from demo.processes import Part


def crash(part: Part) -> None:
    """Kill the part's whole process group, and return once the part is gone."""
    assert part.process is not None
    os.killpg(part.process.pid, signal.SIGKILL)
    part.process.wait()
