"""Queue depths by passive declare: true at this instant. The exporter's only user of `pika`.

One connection per virtual host is kept open by an event loop on a thread of its own, which
answers heartbeats between scrapes. Declares go out over several channels at once: a declare
costs a round trip, and a missing queue closes its channel, which then disturbs no other.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from functools import partial
from typing import Any

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker

from common.amqp import BrokerSettings, parameters
from common.logs import get
from exporter.selection import QueueName
from exporter.sources import SourceError

CHANNELS = 64
RECONNECT_S = 0.5
# A queue that is not there is asked for again after this long: each try is an error in the
# broker's log and costs a channel.
ASK_AGAIN_S = 5.0
_log = get("amqp")


@dataclass(frozen=True, slots=True)
class Depth:
    """What a passive declare returns."""

    ready: int
    consumers: int


class _Batch:
    """The declares of one scrape. Used on the loop's thread alone, but for `future`."""

    def __init__(self, names: Sequence[str]) -> None:
        self.waiting = deque(names)
        self.open = len(names)
        self.depths: dict[str, Depth] = {}
        self.refused: dict[str, str] = {}
        self.future: Future[None] = Future()

    def settle(self) -> None:
        self.open -= 1
        if self.open == 0 and not self.future.done():
            self.future.set_result(None)

    def refuse(self, name: str, reason: str) -> None:
        self.refused[name] = reason
        self.settle()

    def fail(self, reason: str) -> None:
        self.waiting.clear()
        if not self.future.done():
            self.future.set_exception(SourceError(reason))


class QueueReader:
    """Reads the queues of one virtual host. Use start() and close()."""

    def __init__(
        self,
        addresses: Sequence[pika.ConnectionParameters],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Of several addresses the first that answers is taken, at every connect anew."""
        self._addresses = addresses
        self._clock = clock
        self._turn = threading.Lock()
        self._connected = threading.Event()
        self._stopping = threading.Event()
        self._problem = "not connected yet"
        self._ask_again: dict[str, float] = {}
        self._connection: Any = None
        # What follows is touched on the loop's thread alone.
        self._answering = False
        self._batch: _Batch | None = None
        self._channels = 0
        self._idle: list[Any] = []
        self._asked: dict[int, tuple[_Batch, str]] = {}
        self._thread = threading.Thread(
            target=self._run, name=f"amqp-{addresses[0].virtual_host}", daemon=True
        )

    def start(self) -> QueueReader:
        """Connect, and stay connected."""
        self._thread.start()
        return self

    @property
    def alive(self) -> bool:
        """Whether the thread that keeps the connection still runs."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Disconnect."""
        self._stopping.set()
        if self._connected.is_set():
            self._connection.ioloop.add_callback_threadsafe(self._connection.close)
        self._thread.join(timeout=2)

    def read(self, names: Sequence[str], timeout_s: float) -> dict[str, Depth]:
        """The depths of those of `names` that exist and may be seen.

        Raises SourceError when the broker does not answer within `timeout_s` seconds.
        """
        deadline = self._clock() + timeout_s
        if not self._turn.acquire(timeout=max(0.0, timeout_s)):
            raise SourceError("an earlier scrape is still being answered")
        try:
            if not self._connected.wait(max(0.0, deadline - self._clock())):
                raise SourceError(self._problem)
            return self._read(names, deadline)
        finally:
            self._turn.release()

    def _read(self, names: Sequence[str], deadline: float) -> dict[str, Depth]:
        now = self._clock()
        wanted = {name for name in names if self._ask_again.get(name, now) <= now}
        batch = _Batch(sorted(wanted))
        if not wanted:
            return {}
        self._connection.ioloop.add_callback_threadsafe(partial(self._begin, batch))
        try:
            batch.future.result(max(0.0, deadline - self._clock()))
        except FutureTimeoutError:
            self._connection.ioloop.add_callback_threadsafe(batch.waiting.clear)
        depths, refused = dict(batch.depths), dict(batch.refused)
        silent = wanted - depths.keys() - refused.keys()
        if silent and not depths:
            raise SourceError("the broker did not answer the declares in time")
        # Where others are answered for, a silent queue has a fault of its own, and is absent.
        self._remember(refused | dict.fromkeys(silent, "no answer in time"))
        return depths

    def _remember(self, refused: dict[str, str]) -> None:
        again = self._clock() + ASK_AGAIN_S
        for name, reason in refused.items():
            if name not in self._ask_again:
                _log.warning("queue cannot be read", queue=name, reason=reason)
        # Names that answered, or are no longer asked for, drop out once their time is over.
        self._ask_again = {
            name: at for name, at in self._ask_again.items() if at > self._clock()
        } | dict.fromkeys(refused, again)

    # The loop's thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._answering = False
            for address in self._addresses:
                if not (self._answering or self._stopping.is_set()):
                    self._stay_connected(address)
            self._stopping.wait(RECONNECT_S)

    def _stay_connected(self, address: pika.ConnectionParameters) -> None:
        """Until the connection is lost, or there is none to be had."""
        try:
            self._connection = pika.SelectConnection(
                address,
                on_open_callback=self._opened,
                on_open_error_callback=self._closed,
                on_close_callback=self._closed,
            )
            self._connection.ioloop.start()
            self._connection.ioloop.close()
        except Exception as error:
            # Any error: the source is reported as down, and the next connection may succeed.
            self._lost(error)

    def _opened(self, _connection: Any) -> None:
        self._answering = True
        self._connected.set()

    def _closed(self, connection: Any, error: Exception) -> None:
        self._lost(error)
        connection.ioloop.stop()

    def _lost(self, error: Exception) -> None:
        self._connected.clear()
        self._problem = f"no connection to the broker: {_describe(error)}"
        if self._batch is not None:
            self._batch.fail(self._problem)
        self._batch, self._channels = None, 0
        self._idle.clear()
        self._asked.clear()

    def _begin(self, batch: _Batch) -> None:
        if not self._connected.is_set():
            batch.fail(self._problem)
            return
        self._batch = batch
        self._leave_out_unanswered(batch)
        # The broker may allow fewer; 0 is no limit.
        allowed = self._connection.params.channel_max or CHANNELS
        wanted = min(len(batch.waiting), CHANNELS, allowed)
        idle, self._idle = self._idle, []
        for channel in idle:
            self._next(channel)
        for _ in range(wanted - self._channels):
            self._open_channel()

    def _leave_out_unanswered(self, batch: _Batch) -> None:
        """Queues asked for long ago, on channels that wait still: each would cost another one."""
        for name in {name for _, name in self._asked.values()}.intersection(batch.waiting):
            batch.waiting.remove(name)
            batch.settle()

    def _open_channel(self) -> None:
        self._channels += 1
        channel = self._connection.channel(on_open_callback=self._next)
        channel.add_on_close_callback(self._channel_closed)

    def _replace_channel(self) -> None:
        if self._connected.is_set() and self._batch is not None and self._batch.waiting:
            self._open_channel()

    def _next(self, channel: Any) -> None:
        batch = self._batch
        while batch is not None and batch.waiting:
            name = batch.waiting.popleft()
            self._asked[channel.channel_number] = (batch, name)
            try:
                channel.queue_declare(name, passive=True, callback=partial(self._answered, channel))
                return
            except (AMQPError, ValueError) as error:
                # A name that can't be sent; the channel is as it was.
                del self._asked[channel.channel_number]
                batch.refuse(name, _describe(error))
        self._idle.append(channel)

    def _answered(self, channel: Any, frame: Any) -> None:
        batch, name = self._asked.pop(channel.channel_number)
        batch.depths[name] = Depth(frame.method.message_count, frame.method.consumer_count)
        batch.settle()
        self._next(channel)

    def _channel_closed(self, channel: Any, error: Exception) -> None:
        if not isinstance(error, ChannelClosedByBroker):
            return  # the connection goes as a whole
        self._channels -= 1
        if channel in self._idle:
            self._idle.remove(channel)
        asked = self._asked.pop(channel.channel_number, None)
        if asked is None:
            return
        batch, name = asked
        batch.refuse(name, f"{error.reply_code} {error.reply_text}")
        # Only after this callback does pika give the channel's number back.
        self._connection.ioloop.add_callback_threadsafe(self._replace_channel)


class Depths:
    """The queues of all virtual hosts, a reader for each."""

    def __init__(self, settings: BrokerSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._readers: dict[str, QueueReader] = {}

    def connect(self, vhosts: Iterable[str]) -> None:
        """Connect to these in advance."""
        for vhost in vhosts:
            self._reader(vhost)

    def close(self) -> None:
        """Disconnect from all."""
        for reader in self._readers.values():
            reader.close()

    def problem(self) -> str | None:
        """Why the queues cannot be read any more, or None."""
        dead = [vhost for vhost, reader in self._readers.items() if not reader.alive]
        return f"the connection thread of {dead} has died" if dead else None

    def read(self, queues: Iterable[QueueName], until: float) -> dict[QueueName, Depth]:
        """Depths of those of `queues` that exist; `until` is by the clock.

        Raises SourceError when any virtual host fails: a part of the queues would mislead.
        """
        names: dict[str, list[str]] = {}
        for queue in queues:
            names.setdefault(queue.vhost, []).append(queue.name)
        result: dict[QueueName, Depth] = {}
        for vhost, wanted in names.items():
            found = self._reader(vhost).read(wanted, until - self._clock())
            result.update((QueueName(vhost, name), depth) for name, depth in found.items())
        return result

    def _reader(self, vhost: str) -> QueueReader:
        if vhost not in self._readers:
            given = parameters(self._settings, name="autoscaler-exporter")
            for address in given:
                address.virtual_host = vhost
            self._readers[vhost] = QueueReader(given, clock=self._clock).start()
        return self._readers[vhost]


def _describe(error: Exception) -> str:
    """Type and text of an error; pika's connection errors nest their cause in args."""
    cause: Any = error
    while isinstance(cause, Exception) and cause.args and isinstance(cause.args[0], Exception):
        cause = cause.args[0]
    inner = getattr(cause, "exceptions", None)
    if inner:
        cause = getattr(inner[-1], "exception", inner[-1])
    return f"{type(cause).__name__}: {cause}"[:200]
