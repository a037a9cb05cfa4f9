"""Sources and their deadlines: each is read on a thread of its own, so none can block a scrape."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Generic, TypeVar

from common.ledger import LedgerError
from common.logs import get

T = TypeVar("T")
_log = get("source")


class SourceError(Exception):
    """A source did not answer, or not in time; the sentence holds no credentials."""


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What one source gave at one scrape: a value, or why there is none."""

    value: T | None
    error: str
    duration_s: float


class Pending(Generic[T]):
    """A read that has begun."""

    def __init__(
        self, source: SourceReader[T], future: Future[T], clock: Callable[[], float]
    ) -> None:
        self._source = source
        self._future = future
        self._clock = clock
        self._began = clock()

    def result(self, deadline: float) -> Reading[T]:
        """What it gave by `deadline`, on the monotonic clock; never raises for the source."""
        value, error = None, ""
        try:
            value = self._future.result(max(0.0, deadline - self._clock()))
        except FutureTimeoutError:
            # A read that has not begun is dropped, so that a hung source piles up no work.
            self._future.cancel()
            error = "no answer within the scrape's deadline"
        except (SourceError, LedgerError) as failure:
            error = str(failure)
        except Exception as fault:
            # A fault of ours with one source must not cost the page of all.
            _log.exception("source could not be read", source=self._source.name)
            error = f"{type(fault).__name__} while it was read"
        reading = Reading(value, error, self._clock() - self._began)
        self._source.note(reading)
        return reading


class SourceReader(Generic[T]):
    """Reads one source, on a thread of its own."""

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._clock = clock
        self._was_up: bool | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"source-{name}")

    def begin(self, read: Callable[[], T]) -> Pending[T]:
        """Start reading. A read that is still under way makes this one wait its turn."""
        return Pending(self, self._thread.submit(read), self._clock)

    def note(self, reading: Reading[T]) -> None:
        """Log a change between answering and not."""
        is_up = not reading.error
        if is_up != self._was_up:
            if reading.error:
                _log.warning("source is down", source=self.name, error=reading.error)
            else:
                _log.info("source is up", source=self.name)
        self._was_up = is_up

    def close(self) -> None:
        """Take no further reads."""
        self._thread.shutdown(wait=False, cancel_futures=True)
