"""The open streams: what wakes each, and when it ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager

from scaler.external.errors import LimitError
from scaler.external.metrics import ServerMetrics


class Stream:
    """One open stream. `event` is set when there may be news for it."""

    def __init__(self, age_s: float) -> None:
        self.event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        # Streams that began together do not end together.
        self.end = self.time() + age_s * random.uniform(0.5, 0.8)

    def time(self) -> float:
        """Seconds on the loop's clock."""
        return self._loop.time()

    async def wait(self, until: float) -> None:
        """Until there may be news, or the time `until` or the stream's end has come."""
        try:
            async with asyncio.timeout_at(min(until, self.end)):
                await self.event.wait()
        except TimeoutError:
            pass
        self.event.clear()


class Streams:
    """All of them. Lives in one event loop."""

    def __init__(self, metrics: ServerMetrics, *, age_s: float, limit: int) -> None:
        self._metrics = metrics
        self._age_s = age_s
        self._limit = limit
        self._open: set[Stream] = set()
        self._ending = False

    @contextmanager
    def open(self, method: str) -> Iterator[Stream]:
        """A stream, until the block is left. Raises LimitError when there are too many."""
        if len(self._open) >= self._limit:
            raise LimitError(f"{self._limit} streams are open, which is the most allowed")
        stream = Stream(self._age_s)
        self._open.add(stream)
        gauge = self._metrics.streams.labels(method)
        gauge.inc()
        try:
            yield stream
        finally:
            self._open.discard(stream)
            gauge.dec()

    def over(self, stream: Stream) -> bool:
        """Whether it is time for this stream to end."""
        return self._ending or stream.time() >= stream.end

    def wake(self) -> None:
        """Have every stream look for news."""
        for stream in self._open:
            stream.event.set()

    def end(self) -> None:
        """End all of them, and those opened from now on."""
        self._ending = True
        self.wake()
