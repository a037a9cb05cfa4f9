"""The queues of a soak: declared by their owner, refusing when told to, and read at the end."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import pika
import requests
from pika.exceptions import AMQPError, ChannelClosedByBroker

from demo.stack import Stack
from tests.soak.plan import JOB_ID, MESSAGE_ID
from tests.support.waiting import until

JOBS = "soak"
RESULTS = "soak-results"
DEAD = f"{JOBS}.dead"
RETRIES = f"{JOBS}.retry"
_NAMES = {JOBS: f"^{JOBS}$", RESULTS: f"^{RESULTS}$", DEAD: rf"^{JOBS}\.dead$"}
_NAMES[RETRIES] = rf"^{JOBS}\.retry\."
# The broker is away on purpose; pika tells of each try in twenty lines.
logging.getLogger("pika").setLevel(logging.CRITICAL)
_MADE_S = 2.0
NO_LIMIT = 1_000_000
"""Were it taken away instead, a quorum queue would go on refusing whom it has refused."""
_AUTH = ("guest", "guest")


class Queues:
    """All queues of one run. Used on one thread, unless a method says otherwise."""

    def __init__(self, stack: Stack, queue_type: str) -> None:
        """`queue_type` is that of the owner's queues, `classic` or `quorum`."""
        self._stack = stack
        self._api = f"{stack.management_url}/api"
        self._open: Any = None
        self._depths: dict[str, int] = {}
        self._type = queue_type
        self._lock = threading.RLock()
        self._limits: dict[str, int] = {}

    def declare(self) -> None:
        """As the owner of jobs and results does, and prepared to be full.

        A policy that brings a limit and the refusal in one stroke would drop messages of a classic
        queue, so that the refusal is there from the beginning.
        """
        channel = self._channel()
        for name in (JOBS, RESULTS):
            arguments = {"x-queue-type": self._type}
            channel.queue_declare(name, durable=True, arguments=arguments)
        for name in _NAMES:
            self.limit(name)

    def limit(self, name: str, length: int = NO_LIMIT) -> None:
        """Have the queues of that name refuse what exceeds `length`.

        Tries again while the broker is away. For any thread.
        """
        with self._lock:
            self._limits[name] = length
            until(lambda: self._put_policy(name), f"the policy of {name}", every_s=0.3)

    def renew_limits(self) -> None:
        """Set every limit again, now that the broker is back. For any thread.

        A quorum queue that had not heard of a new one before the broker ended never would, and
        hears of nothing that does not differ.
        """
        for name in _NAMES:
            with self._lock:
                self.limit(name, self._limits[name] + 1)

    def _put_policy(self, name: str) -> bool:
        policy = {
            "pattern": _NAMES[name],
            "apply-to": "queues",
            "definition": {"overflow": "reject-publish", "max-length": self._limits[name]},
        }
        url = f"{self._api}/policies/%2F/{name}"
        with suppress(requests.RequestException):
            return requests.put(url, json=policy, auth=_AUTH, timeout=5).ok
        return False

    def await_no_new_ones(self) -> None:
        """Wait until no queue has come for two seconds, and every one is listed. For any thread.

        A quorum queue whose broker is killed while it is being made is there afterwards and takes
        nothing, until a person deletes it: no worker can help that.
        """
        seen: set[str] | None = None
        since = time.monotonic()

        def none() -> bool:
            nonlocal seen, since
            names = self._names()
            found = None if names is None else set(names)
            if found is None or found != seen:
                seen, since = found, time.monotonic()
            return time.monotonic() - since > _MADE_S

        until(none, "no new queue", every_s=0.1)

    def depth(self, name: str) -> int:
        """Ready messages; what was known last while the broker does not answer."""
        with suppress(AMQPError, OSError):
            self._depths[name] = _ready(self._channel(), name)
        return self.known(name)

    def known(self, name: str) -> int:
        """The depth as it was last read. For any thread."""
        return self._depths.get(name, 0)

    def count(self, name: str) -> int:
        """Ready messages at this moment, once the broker answers. For any thread."""

        def counted() -> tuple[int] | None:
            with suppress(AMQPError, OSError):
                connection = pika.BlockingConnection(pika.URLParameters(self._stack.rabbit_url))
                ready = _ready(connection.channel(), name)
                connection.close()
                return (ready,)
            return None

        found: tuple[int] = until(counted, f"the depth of {name}", every_s=0.3)
        return found[0]

    def waiting(self) -> dict[str, int] | None:
        """Messages in job and retry queues, unacknowledged ones included; None for unknown.

        By the management API, which is some seconds late.
        """
        try:
            listed = [queue for queue in self._listed() if _has_jobs(queue["name"])]
            return {queue["name"]: int(queue["messages"]) for queue in listed}
        except (requests.RequestException, KeyError, TypeError, ValueError):
            return None

    def _listed(self) -> list[dict[str, Any]]:
        """All queues. After a restart of the broker one in which nothing happens is listed without
        its messages."""
        query = f"{self._api}/queues/%2F?columns=name,messages"
        found: list[dict[str, Any]] = requests.get(query, auth=_AUTH, timeout=5).json()
        return found

    def _names(self) -> list[str] | None:
        try:
            return [queue["name"] for queue in self._listed()]
        except (requests.RequestException, KeyError, TypeError, ValueError):
            return None

    def left(self) -> dict[str, int]:
        """Messages in job and retry queues once no worker is connected any more."""
        names = until(self._names, "the list of queues")
        return {name: self.depth(name) for name in names if _has_jobs(name)}

    def announced(self) -> list[str]:
        """The keys of the orders that are announced, taken out of the result queue."""
        return [_key(properties, body) for properties, body in self._take(RESULTS)]

    def parked(self) -> list[str]:
        """The job ids of what is parked, taken out of the dead queue."""
        return [_job_id(body) for _, body in self._take(DEAD)]

    def close(self) -> None:
        """Leave the broker."""
        if self._open is not None:
            with suppress(AMQPError, OSError):
                self._open.connection.close()
        self._open = None

    def _take(self, name: str) -> list[tuple[Any, bytes]]:
        channel, found = self._channel(), []
        try:
            for method, properties, body in channel.consume(name, inactivity_timeout=3.0):
                if method is None:
                    break
                found.append((properties, body))
                channel.basic_ack(method.delivery_tag)
        except ChannelClosedByBroker:  # never declared, as nothing was parked
            return []
        channel.cancel()
        return found

    def _channel(self) -> Any:
        if self._open is None or not self._open.is_open:
            self.close()
            connection = pika.BlockingConnection(pika.URLParameters(self._stack.rabbit_url))
            self._open = connection.channel()
        return self._open


def _has_jobs(name: str) -> bool:
    """Whether it is the job queue or a retry queue."""
    return name == JOBS or name.startswith(f"{RETRIES}.")


def _ready(channel: Any, name: str) -> int:
    try:
        return int(channel.queue_declare(name, passive=True).method.message_count)
    except ChannelClosedByBroker as error:
        if error.reply_code != HTTPStatus.NOT_FOUND:
            raise
        return 0  # not declared yet


def _key(properties: Any, body: bytes) -> str:
    """The order's, as in a plan: it is the job's id where the message came without one."""
    order = str((properties.headers or {}).get("x-order"))
    return order if MESSAGE_ID.search(order) else _job_id(body)


def _job_id(body: bytes) -> str:
    found = JOB_ID.search(body.decode("latin-1"))
    return found.group() if found else repr(body[:60])
