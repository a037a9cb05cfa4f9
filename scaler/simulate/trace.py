"""Job traces, and their CSV files. Times in seconds, the first job at 0."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from common.errors import ConfigError, InvalidInputError

Floats = NDArray[np.float64]

HEADER = ("arrival_s", "duration_s")
MAX_JOBS = 5_000_000
DAY_S = 86_400.0
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Trace:
    """Jobs by arrival: when they come and how long their work takes."""

    name: str
    arrivals: Floats
    """Seconds, never falling, the first one 0."""
    durations: Floats
    """Seconds of service."""

    def __len__(self) -> int:
        return len(self.arrivals)

    @property
    def span_s(self) -> float:
        """From the first arrival to the last."""
        return float(self.arrivals[-1])


def trace_of(name: str, arrivals: Floats, durations: Floats) -> Trace:
    """A trace with its first arrival moved to 0. Raises InvalidInputError where it has no job."""
    if len(arrivals) == 0:
        raise InvalidInputError(name, 0, "at least one job")
    return Trace(name, arrivals - arrivals[0], durations)


def read_csv(path: Path) -> Trace:
    """A trace from `arrival_s,duration_s` lines, gzip or plain, sorted by arrival.

    Raises ConfigError naming the line, the value and what is allowed.
    """
    try:
        with _open(path) as lines:
            table = np.fromiter(chain.from_iterable(_rows(path, lines)), np.float64).reshape(-1, 2)
    except (OSError, UnicodeDecodeError, EOFError, zlib.error, csv.Error) as error:
        raise ConfigError("trace", str(path), f"a readable CSV or gzip file ({error})") from error
    if not len(table):
        raise ConfigError("trace", str(path), "at least one job")
    name = path.name.removesuffix(".gz").removesuffix(".csv")
    return trace_of(name, table[:, 0], table[:, 1])


@contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    """The file's text; what is packed shows by its first bytes, whatever its name."""
    with path.open("rb") as raw:
        packed = raw.peek(len(_GZIP))[: len(_GZIP)] == _GZIP
        unpacked = gzip.GzipFile(fileobj=raw) if packed else raw
        # Spreadsheets put a mark of the byte order before the header.
        with TextIOWrapper(unpacked, encoding="utf-8-sig", newline="") as text:
            yield text


def _rows(path: Path, lines: Iterable[str]) -> Iterator[tuple[float, float]]:
    reader = csv.reader(lines)
    header = tuple(next(reader, ()))
    if header != HEADER:
        raise ConfigError(f"{path}: line 1", ",".join(header), f"the header {','.join(HEADER)}")
    before = 0.0
    for number, row in enumerate(reader, start=2):
        where = f"{path}: line {number}"
        if len(row) != 2:
            raise ConfigError(where, ",".join(row), "two numbers")
        if number > MAX_JOBS + 1:
            raise ConfigError(where, number, f"at most {MAX_JOBS} jobs")
        arrival, duration = (_number(where, text) for text in row)
        if arrival < before:
            raise ConfigError(where, arrival, f"an arrival not before the last one, {before:g}")
        if not 0 < duration <= 30 * DAY_S:
            raise ConfigError(where, duration, "a duration above 0 and at most 30 days")
        before = arrival
        yield arrival, duration


def _number(where: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(where, text, "a number of seconds") from None
    if not math.isfinite(value) or value < 0:
        raise ConfigError(where, text, "a finite number of seconds from 0 up")
    return value
