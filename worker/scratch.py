"""What is written on the way to a result: every name says whose it is, so that it can be removed.

An owner is `HOST-REALM-PID-START`, see worker/process_identity.py. Whoever shares the realm sees
whether the owner lives; others, as on a shared file system, can go by the age alone.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

from common import logs
from worker.errors import TransientError
from worker.process_identity import alive, realm, this_instance

_SHORTEST_S = 86_400.0
_EVERY_S = 3_600.0
_OWNED = re.compile(
    r"(?:rabbitreels-|\..+\.)\w+-(?P<realm>[0-9a-f]{8})-(?P<pid>\d+)-(?P<start>\d+)"
    r"\.[0-9a-f]{8}(?:\.part\.mp4)?"
)
# Of versions that did not name the owner.
_UNOWNED = re.compile(r"\.[A-Za-z0-9._-]+\.[0-9a-f]{32}\.part\.mp4")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_log = logs.get("scratch")


def part(folder: Path, name: str) -> Path:
    """A fresh name in `folder` for what is to become `name`, at most 128 characters of it."""
    return folder / f".{name[:128]}.{_owner()}.{_token()}.part.mp4"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of this process' own among the temporary files, removed at the end.

    Raises TransientError where none can be made.
    """
    folder = Path(tempfile.gettempdir()) / f"rabbitreels-{_owner()}.{_token()}"
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise unwritable(error, folder.parent) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def unwritable(error: OSError, place: Path) -> TransientError:
    """The error to raise for `error`, which came up while files were written in `place`."""
    if error.errno in _FULL:
        return TransientError(f"the disk is full: no room to write in {place} ({error.strerror})")
    return TransientError(f"a file can't be read or written: {error}")


def keep_swept(folders: Iterable[Path], job_timeout_s: float) -> None:
    """Sweep the temporary files and `folders` now and every hour, on a thread that ends with us."""
    places = {Path(tempfile.gettempdir()), *folders}
    unused_s = max(_SHORTEST_S, 3 * job_timeout_s)

    def repeat() -> NoReturn:
        while True:
            for place in places:
                sweep(place, unused_s)
            time.sleep(_EVERY_S)

    threading.Thread(target=repeat, name="scratch", daemon=True).start()


def sweep(place: Path, unused_s: float = _SHORTEST_S) -> int:
    """Remove what dead processes left in `place`; how much it was.

    That of other realms goes once nothing was written to it for `unused_s`, by the clock of the
    file system. Never raises for what the disk does.
    """
    dead, others = [], []
    for entry in _listed(place):
        owned = _OWNED.fullmatch(entry.name)
        if owned is None or owned["realm"] != realm():
            if owned or _UNOWNED.fullmatch(entry.name):
                others.append(entry)
        elif not alive(int(owned["pid"]), int(owned["start"])):
            dead.append(entry)
    if others:
        now = _clock_of(place)
        dead += [entry for entry in others if now - _written(entry) > unused_s]
    removed = sum(_remove(entry) for entry in dead)
    if removed:
        _log.info("removed what dead workers left", folder=str(place), count=removed)
    return removed


def _owner() -> str:
    host = re.sub(r"\W+", "_", socket.gethostname(), flags=re.ASCII)[:40] or "_"
    return f"{host}-{this_instance()}"


def _token() -> str:
    return uuid4().hex[:8]


def _listed(place: Path) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(place) as entries:
        return list(entries)
    return []


def _clock_of(place: Path) -> float:
    """The time by the file system's clock, which a host's own may differ from; -inf if unknown."""
    probe = part(place, "clock")
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return float("-inf")
    finally:
        with suppress(OSError):
            probe.unlink()


def _written(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except OSError:
        return float("inf")


def _remove(entry: os.DirEntry[str]) -> bool:
    try:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
    except OSError:
        return False
    return True
