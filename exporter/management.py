"""What only the management API knows: names of queues, and details that AMQP does not give.

The cost to the broker depends on how many queues are asked about among how many there are, so
there are three ways of asking; see docs/adr/0031.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from common.http_client import HttpClient, OutgoingError
from common.outgoing import NO_SETTINGS, ClientPolicy, basic
from exporter.selection import QueueName, as_regex
from exporter.sources import SourceError

ONE_BY_ONE = 50
IN_PAGES = 1000
PAGE_SIZE = 500
"""The most that the API gives."""
_AT_ONCE = 2
_MAX_BYTES = 256 * 1024 * 1024
_TOTALS = "name,vhost,messages_unacknowledged"
_STATS = ("publish", "deliver", "deliver_no_ack", "ack", "redeliver")
_MOST_PAGES = 1000
_NOT_THERE = "MANAGEMENT_URL is not the address of a management API, or its path is wrong"
Row = tuple[QueueName, Mapping[str, Any]]
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

    def __init__(self, url: str, policy: ClientPolicy = NO_SETTINGS) -> None:
        """Raises ConfigError where the policy does not go together with the URL."""
        self._http = HttpClient(
            "the management API",
            url,
            policy,
            max_bytes=_MAX_BYTES,
            authorization=basic("guest", "guest"),
            most_idle=_AT_ONCE,
        )
        self._pages = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="management")

    def close(self) -> None:
        """Give the connections back."""
        self._pages.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    def names(self, timeout_s: float) -> list[QueueName]:
        """Every queue that the user may see, but exclusive ones, which are no job queues."""
        query = {"disable_stats": "true", "columns": "name,vhost,exclusive"}
        rows = _rows(self._get("/queues", query, timeout_s))
        return [queue for queue, row in rows if not row.get("exclusive")]

    def details(
        self, queues: Sequence[QueueName], patterns: Iterable[str], timeout_s: float
    ) -> dict[QueueName, Details]:
        """Details of `queues`, whose names match `patterns`; above IN_PAGES only `unacked`."""
        if len(queues) <= ONE_BY_ONE:
            found = [self._one(queue, timeout_s) for queue in queues]
            known = {queue: details for queue, details in found if details is not None}
            if not known:
                self._check_address(timeout_s)
            return known
        if len(queues) <= IN_PAGES:
            rows = self._paged(as_regex(patterns), len(queues), timeout_s)
        else:
            query = {"disable_stats": "true", "enable_queue_totals": "true", "columns": _TOTALS}
            rows = _rows(self._get("/queues", query, timeout_s))
        wanted = set(queues)
        return {queue: _details(row) for queue, row in rows if queue in wanted}

    def _check_address(self, timeout_s: float) -> None:
        """None of the queues is there: or is it that the address is not the API's?"""
        user = self._get("/whoami", {}, timeout_s)
        if not isinstance(user, dict) or "name" not in user:
            raise SourceError(f"management API: {_NOT_THERE}")

    def _one(self, queue: QueueName, timeout_s: float) -> tuple[QueueName, Details | None]:
        path = f"/queues/{quote(queue.vhost, safe='')}/{quote(queue.name, safe='')}"
        row = self._get(path, {}, timeout_s)
        if row is None:
            return queue, None
        if not isinstance(row, dict) or row.get("name") != queue.name:
            raise SourceError(f"management API: {_NOT_THERE}")
        return queue, _details(row)

    def _paged(self, regex: str, count: int, timeout_s: float) -> list[Row]:
        def page(number: int) -> Any:
            query = {
                "page": number,
                "page_size": PAGE_SIZE,
                "name": regex,
                "use_regex": "true",
                "columns": _COLUMNS,
            }
            return self._get("/queues", query, timeout_s)

        expected = max(1, math.ceil(count / PAGE_SIZE))
        found = list(self._pages.map(page, range(1, expected + 1)))
        pages = _count(found[0], "page_count")
        # More than expected where other queues match the patterns too.
        found += self._pages.map(page, range(expected + 1, min(pages, _MOST_PAGES) + 1))
        # Pages come to be fewer while they are asked for.
        there = [answer for answer in found if answer is not None]
        return [row for answer in there for row in _page_rows(answer)]

    def _get(self, path: str, query: Mapping[str, object], timeout_s: float) -> Any:
        """The JSON at `path`; None when there is no such queue or page."""
        try:
            answer = self._http.request(
                "GET", f"/api{path}?{urlencode(query)}", timeout_s=timeout_s
            )
        except OutgoingError as error:
            raise SourceError(str(error)) from None
        if answer.status in (400, 404):
            return None
        if answer.status != 200:
            raise SourceError(f"management API: HTTP {answer.status}")
        try:
            return answer.json()
        except ValueError:
            said = f"HTTP {answer.status} with what is no answer of it, no JSON; {_NOT_THERE}"
            raise SourceError(f"management API: {said}") from None


def _rows(answer: Any) -> list[Row]:
    """The queues of a listing. Raises SourceError for whatever else it is."""
    if not isinstance(answer, list):
        raise SourceError(f"management API: no list of queues; {_NOT_THERE}")
    rows = []
    for row in answer:
        vhost, name = (row.get("vhost"), row.get("name")) if isinstance(row, dict) else (None, None)
        if not isinstance(vhost, str) or not isinstance(name, str):
            raise SourceError("management API: a list of something other than queues")
        if _is_text(vhost + name):
            rows.append((QueueName(vhost, name), row))
    return rows


def _is_text(name: str) -> bool:
    """Whether a name can be a label. JSON can write halves of characters, which can't."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _page_rows(answer: Any) -> list[Row]:
    """The queues on a page. Raises SourceError for one that is empty although it says otherwise."""
    if _count(answer, "filtered_count") and not answer.get("items"):
        raise SourceError("management API: an empty page of queues, though it tells of some")
    return _rows(answer.get("items"))


def _count(answer: Any, name: str) -> int:
    """A number about the pages. Raises SourceError where there is none."""
    number = _number(answer.get(name)) if isinstance(answer, dict) else None
    if number is None:
        raise SourceError(f"management API: no pages of queues; {_NOT_THERE}")
    return number


def _details(row: Mapping[str, Any]) -> Details:
    stats = row.get("message_stats")
    totals = {name: _number(stats.get(name)) for name in _STATS} if isinstance(stats, dict) else {}
    return Details(
        unacked=_number(row.get("messages_unacknowledged")),
        head_timestamp=_number(row.get("head_message_timestamp")),
        memory_bytes=_number(row.get("memory")),
        totals={name: total for name, total in totals.items() if total is not None},
    )


def _number(value: Any) -> int | None:
    """A count, or None for what is none."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    return value if is_count else None
