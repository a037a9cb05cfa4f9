"""A disk of its own for a test, that can be full or read-only. Takes root."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

_PAGE = b"x" * 4096


class SmallDisk:
    """A file system of a few hundred kilobytes in memory."""

    def __init__(self, folder: Path, kilobytes: int = 600) -> None:
        self.folder = folder
        self._options = f"size={kilobytes}k,mode=0755"
        self._filler = folder / "filler"

    def __enter__(self) -> Self:
        self.folder.mkdir()
        self._mount("-t", "tmpfs", "-o", self._options, "tmpfs")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Also where a thread still has a file open.
        subprocess.run(["umount", "--lazy", self.folder], check=True)
        self.folder.rmdir()

    def fill(self) -> None:
        """Take all the room that is left."""
        with self._filler.open("ab", buffering=0) as file:
            try:
                while file.write(_PAGE):
                    pass
            except OSError:
                return

    def clear(self) -> None:
        """Give the room back."""
        self._filler.unlink()

    def read_only(self, *, wanted: bool) -> None:
        """Refuse changes, or take them again. Nothing may be open for writing then."""
        self._mount("-o", f"remount,{'ro' if wanted else 'rw'},{self._options}")

    def _mount(self, *arguments: str) -> None:
        subprocess.run(["mount", *arguments, self.folder], check=True)
