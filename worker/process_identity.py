"""Which process is which, also after process ids have been used again."""

from __future__ import annotations

import os
from functools import cache
from hashlib import blake2s
from pathlib import Path
from uuid import uuid4


@cache
def realm() -> str:
    """What process ids count in: one boot of one kernel, one PID namespace.

    In a sandbox that hides it, nobody else's.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        name = f"{boot}{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        name = uuid4().hex
    return blake2s(name.encode(), digest_size=4).hexdigest()


def this_instance() -> str:
    """Tells this process from every other one: REALM-PID-START."""
    return f"{realm()}-{os.getpid()}-{started(os.getpid())}"


def alive(pid: int, start: int) -> bool:
    """Whether that very process of this realm lives; also where that is hidden from us."""
    try:
        os.kill(pid, 0)
        return started(pid) == start
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True


def started(pid: int) -> int:
    """When a process began, in clock ticks since the boot; -1 for one that only waits to be buried.

    Fields 3 and 22 of /proc/PID/stat, see proc(5). Raises OSError.
    """
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return -1 if fields[0] in (b"Z", b"X") else int(fields[19])
