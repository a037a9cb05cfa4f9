"""How each fault of the matrix is made, and how it ends."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from pathlib import Path
from typing import Protocol

from tests.support.fault_proxy import FaultProxy, Spoiled
from tests.support.matrix import FLAPPING
from tests.support.waiting import until

_DISK_BYTES = 8 << 20


class MatrixFault(Protocol):
    """Something that can be made to fail, and to work again."""

    restarts: bool
    """Whether what has failed works again only for a program that is started anew."""

    @property
    def acts(self) -> bool:
        """Whether something fails now."""

    def begin(self) -> None: ...

    def cycle(self, number: int) -> None:
        """Before each cycle of the fault, from 0 on."""

    def end(self) -> None: ...


class NetworkFault:
    """A part behind a proxy."""

    restarts = False

    def __init__(self, proxy: FaultProxy, fault: str) -> None:
        self._proxy, self._fault = proxy, fault
        self.acts = False

    def begin(self) -> None:
        self.cycle(0)

    def cycle(self, number: int) -> None:
        """One that flaps is there every other cycle."""
        self.acts = self._fault != FLAPPING or number % 2 == 0
        if self.acts:
            self._proxy.spoil(Spoiled.REFUSED if self._fault == FLAPPING else Spoiled(self._fault))
        else:
            self._proxy.mend()

    def end(self) -> None:
        self.acts = False
        self._proxy.mend()


class MatrixClock:
    """A wall clock that may be set or stand still, and one that just goes on."""

    restarts = False
    acts = True

    def __init__(self, now: float, fault: str = "") -> None:
        self._now, self._fault = now, fault
        self._passed = 0.0
        self._offset = 0.0
        self._stands: float | None = None

    def go_on(self, seconds: float) -> None:
        """So much time passes."""
        self._passed += seconds

    def wall(self) -> float:
        """Epoch seconds, as the host has them."""
        return self._now + self._passed + self._offset if self._stands is None else self._stands

    def monotonic(self) -> float:
        """Seconds."""
        return 1000.0 + self._passed

    def begin(self) -> None:
        if self._fault == "stopped":
            self._stands = self.wall()
            return
        number, unit = self._fault.split()
        self._offset = int(number) * {"min": 60.0, "h": 3600.0}[unit]

    def cycle(self, number: int) -> None:
        """Nothing more."""

    def end(self) -> None:
        self._offset, self._stands = 0.0, None


class LockedHistory:
    """Somebody else holds the database."""

    restarts = False
    acts = True

    def __init__(self, folder: Path) -> None:
        self._path = folder / "history.sqlite"
        self._other: sqlite3.Connection | None = None

    def begin(self) -> None:
        self._other = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._other.execute("PRAGMA busy_timeout = 20000")
        self._other.execute("BEGIN EXCLUSIVE")

    def cycle(self, number: int) -> None:
        """Nothing more."""

    def end(self) -> None:
        if self._other is not None:
            self._other.close()


class LoopDisk(contextlib.ExitStack):
    """A small disk of its own, which can be full, or fail and be read-only. Use as a context."""

    acts = True

    def __init__(self, folder: Path, fault: str) -> None:
        super().__init__()
        self.restarts = fault == "read-only"
        self._full = fault == "full"
        self._image, self.folder = folder / "disk.img", folder / "disk"
        self.folder.mkdir()
        with self._image.open("wb") as image:
            image.truncate(_DISK_BYTES)
        _run("mkfs.ext4", "-q", str(self._image))
        self._mount()

    def __exit__(self, *details: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False, capture_output=True)

    def begin(self) -> None:
        if self._full:
            self._fill()
        else:
            # What the kernel does where a disk fails.
            _run("mount", "-o", "remount,abort", str(self.folder))

    def cycle(self, number: int) -> None:
        """What has been freed meanwhile is taken, too."""
        if self._full:
            self._fill()

    def end(self) -> None:
        """Of a disk that has failed: nobody may have a file open on it."""
        if self._full:
            (self.folder / "filler").unlink()
        else:
            # Between fork and exec another thread's child has every file of this process open.
            until(self._unmounted, "the disk let go")
            self._mount()

    def _unmounted(self) -> bool:
        done = subprocess.run(["umount", str(self.folder)], check=False, capture_output=True)
        return done.returncode == 0

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.folder))

    def _fill(self) -> None:
        with (
            contextlib.suppress(OSError),
            (self.folder / "filler").open("ab", buffering=0) as filler,
        ):
            while filler.write(b"x" * 1024):
                pass


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
