"""Takes one thing after the other out of copies of the tree, and looks whether a test fails."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import TypeVar

UNIT = ("tests/unit",)
_NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".run", ".*_cache", "__pycache__", "build", "*.egg-info"
)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing that is taken out."""

    place: str
    """The kind of thing it is."""
    member: str
    path: str
    """The file that it is in."""
    change: Callable[[str], str]
    """The file's text without it."""
    tests: Sequence[str] = UNIT
    """Those that are the likeliest to fail; the whole unit suite follows where they pass."""
    generates: bool = False
    """Whether something is generated from what is changed; it is then made again, as whoever
    changes its source does."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a probe."""

    probe: Probe
    killed_by: str | None
    """The test that failed first; None where all pass."""
    seconds: float


class Copy:
    """A copy of the tree, to be changed and set right again."""

    def __init__(self, source: Path, folder: Path) -> None:
        self._root = folder
        shutil.copytree(source, folder, ignore=_NOT_COPIED)
        self._sound = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        # Bytecode is known by its source's time in seconds and its size: no time comes twice.
        self._times = itertools.count(int(time.time()) + 60)

    def outcome(self, probe: Probe) -> Outcome:
        """Which test fails without the thing."""
        began = time.monotonic()
        with self._without(probe):
            again = ("--generate",) if probe.generates else ()
            failed = self.first_failure(probe.tests, *again) or self.first_failure(UNIT)
        return Outcome(probe, failed, time.monotonic() - began)

    def first_failure(self, tests: Sequence[str], *options: str) -> str | None:
        """The first of these tests that fails; with `--generate`, after generating anew."""
        missing = [path for path in tests if not (self._root / path).exists()]
        if missing:
            raise FileNotFoundError(f"no such tests: {', '.join(missing)}")
        command = [sys.executable, "-m", "tests.probe.once", *options, *tests]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=self._root)
        try:
            failed: str | None = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            raise RuntimeError(f"{done.stdout}{done.stderr}") from None
        return failed

    @contextmanager
    def _without(self, probe: Probe) -> Iterator[None]:
        path = self._root / probe.path
        text = path.read_text()
        changed = probe.change(text)
        if changed == text:
            raise ValueError(f"nothing is changed in {probe.path} for {probe.member}")
        self._write(path, changed.encode())
        try:
            yield
        finally:
            # What is generated has changed with it.
            for each, content in self._sound.items():
                if not each.exists() or each.read_bytes() != content:
                    self._write(each, content)

    def _write(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        moment = next(self._times)
        os.utime(path, (moment, moment))


class Copies:
    """Some copies of the tree, each used by one thread at a time."""

    def __init__(self, source: Path, folder: Path, count: int) -> None:
        self._free: SimpleQueue[Copy] = SimpleQueue()
        for number in range(count):
            self._free.put(Copy(source, folder / str(number)))

    def outcome(self, probe: Probe) -> Outcome:
        """Which test fails without the thing."""
        return self._with_one(lambda copy: copy.outcome(probe))

    def first_failure(self, tests: Sequence[str]) -> str | None:
        """The first of these tests that fails while nothing is missing."""
        return self._with_one(lambda copy: copy.first_failure(tests))

    def _with_one(self, work: Callable[[Copy], Result]) -> Result:
        copy = self._free.get()
        try:
            return work(copy)
        finally:
            self._free.put(copy)


def outcomes(probes: Sequence[Probe], source: Path, *, side_by_side: int = 2) -> Iterator[Outcome]:
    """The outcome of each probe as it comes, out of `side_by_side` copies of `source`.

    Raises RuntimeError where a test fails while nothing is missing.
    """
    with TemporaryDirectory(prefix="probe-") as folder, ThreadPoolExecutor(side_by_side) as pool:
        copies = Copies(source, Path(folder), side_by_side)
        failed = copies.first_failure(UNIT)
        if failed is not None:
            raise RuntimeError(f"fails while nothing is missing: {failed}")
        pending = [pool.submit(copies.outcome, probe) for probe in probes]
        try:
            for done in as_completed(pending):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)
