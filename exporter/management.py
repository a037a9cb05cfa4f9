"""What only the management API knows: names of queues, and details that AMQP does not give.

The cost to the broker depends on how many queues are asked about among how many there are, so
there are three ways of asking; see docs/adr/0031.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import urllib3

from exporter.selection import QueueName, as_regex
from exporter.sources import SourceError

ONE_BY_ONE = 50
IN_PAGES = 1000
PAGE_SIZE = 500
"""The most that the API gives."""
_AT_ONCE = 2
_MAX_BYTES = 256 * 1024 * 1024
_CHUNK = 256 * 1024
_TOTALS = "name,vhost,messages_unacknowledged"
_STATS = ("publish", "deliver", "deliver_no_ack", "ack", "redeliver")
_COLUMNS = f"{_TOTALS},head_message_timestamp,memory," + ",".join(
    f"message_stats.{name}" for name in _STATS
)


@dataclass(frozen=True, slots=True)
class Details:
    """What is known of one queue; None where the API did not say."""

    unacked: int | None = None
    head_timestamp: float | None = None
    """Unix time at which the message at the head was published, where it says so."""
    memory_bytes: int | None = None
    totals: Mapping[str, int] | None = None
    """Messages since the queue began, by what happened: publish, deliver, ack, redeliver, …"""


class Management:
    """A client of one broker's management API. Raises SourceError. Safe in threads."""

    def __init__(
        self,
        url: str,
        *,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self._base = f"{parts.scheme}://{host}{parts.path.rstrip('/')}/api"
        login = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
        self._headers = urllib3.make_headers(basic_auth=login, keep_alive=True)
        self._http = urllib3.PoolManager(
            maxsize=_AT_ONCE,
            retries=False,
            ca_certs=ca_file,
            cert_file=cert_file,
            key_file=key_file,
        )
        self._pages = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="management")

    def close(self) -> None:
        """Give the connections back."""
        self._pages.shutdown(wait=False, cancel_futures=True)
        self._http.clear()

    def names(self, timeout_s: float) -> list[QueueName]:
        """Every queue that the user may see, but exclusive ones, which are no job queues."""
        query = {"disable_stats": "true", "columns": "name,vhost,exclusive"}
        rows = self._get("/queues", query, timeout_s) or []
        return [QueueName(row["vhost"], row["name"]) for row in rows if not row.get("exclusive")]

    def details(
        self, queues: Sequence[QueueName], patterns: Iterable[str], timeout_s: float
    ) -> dict[QueueName, Details]:
        """Details of `queues`, whose names match `patterns`; above IN_PAGES only `unacked`."""
        if len(queues) <= ONE_BY_ONE:
            found = [self._one(queue, timeout_s) for queue in queues]
            return {queue: details for queue, details in found if details is not None}
        if len(queues) <= IN_PAGES:
            rows = self._paged(as_regex(patterns), len(queues), timeout_s)
        else:
            query = {"disable_stats": "true", "enable_queue_totals": "true", "columns": _TOTALS}
            rows = self._get("/queues", query, timeout_s) or []
        wanted = set(queues)
        by_name = ((QueueName(row["vhost"], row["name"]), row) for row in rows)
        return {queue: _details(row) for queue, row in by_name if queue in wanted}

    def _one(self, queue: QueueName, timeout_s: float) -> tuple[QueueName, Details | None]:
        path = f"/queues/{quote(queue.vhost, safe='')}/{quote(queue.name, safe='')}"
        row = self._get(path, {}, timeout_s)
        return queue, None if row is None else _details(row)

    def _paged(self, regex: str, count: int, timeout_s: float) -> list[dict[str, Any]]:
        def page(number: int) -> dict[str, Any] | None:
            query = {
                "page": number,
                "page_size": PAGE_SIZE,
                "name": regex,
                "use_regex": "true",
                "columns": _COLUMNS,
            }
            result: dict[str, Any] | None = self._get("/queues", query, timeout_s)
            return result

        expected = max(1, math.ceil(count / PAGE_SIZE))
        found = list(self._pages.map(page, range(1, expected + 1)))
        if found[0] is None:
            raise SourceError("management API: the first page is refused")
        # More than expected where other queues match the patterns too.
        found += self._pages.map(page, range(expected + 1, found[0]["page_count"] + 1))
        return [row for answer in found if answer is not None for row in answer["items"]]

    def _get(self, path: str, query: Mapping[str, object], timeout_s: float) -> Any:
        """The JSON at `path`; None when there is no such queue or page."""
        url = f"{self._base}{path}?{urlencode(query)}"
        if timeout_s <= 0:
            raise SourceError("management API: no time left")
        try:
            response = self._http.request(
                "GET", url, headers=self._headers, timeout=timeout_s, preload_content=False
            )
            body = _read(response, time.monotonic() + timeout_s)
        except urllib3.exceptions.HTTPError as error:
            raise SourceError(f"management API: {type(error).__name__}") from error
        if response.status in (400, 404):
            return None
        if response.status != 200:
            raise SourceError(f"management API: HTTP {response.status}")
        try:
            return json.loads(body)
        except ValueError as error:
            raise SourceError("management API: answer is not JSON") from error


def _read(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """The whole body: within its limit, and by the deadline however slowly it comes."""
    body = bytearray()
    while chunk := response.read1(_CHUNK):
        body += chunk
        if len(body) > _MAX_BYTES or time.monotonic() > deadline:
            response.close()
            limit = f"{_MAX_BYTES} bytes" if len(body) > _MAX_BYTES else "the deadline"
            raise SourceError(f"management API: the answer goes beyond {limit}")
    response.release_conn()
    return bytes(body)


def _details(row: Mapping[str, Any]) -> Details:
    stats = row.get("message_stats") or {}
    return Details(
        unacked=_number(row.get("messages_unacknowledged")),
        head_timestamp=_number(row.get("head_message_timestamp")),
        memory_bytes=_number(row.get("memory")),
        totals={name: stats[name] for name in _STATS if isinstance(stats.get(name), int)},
    )


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
