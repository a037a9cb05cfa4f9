"""One number from Prometheus, or the reason why there is none."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from pydantic_core import from_json

from common.errors import shorten
from common.http_client import HttpClient, OutgoingError, SlowAnswerError
from common.outgoing import NO_SETTINGS, ClientPolicy
from scaler.external.errors import TooSlowError, UnknownValueError
from scaler.prometheus.client import query_api

# Kubernetes counts in thousandths in 64 bits: nothing larger arrives as what it is.
_LARGEST = 9.2e15


class InstantQueries:
    """Puts instant queries to Prometheus, each on a thread: the client is the same as everywhere,
    and as quick as one that is made of coroutines. Use it inside the event loop."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        max_bytes: int,
        max_connections: int,
        policy: ClientPolicy = NO_SETTINGS,
    ) -> None:
        self._client = HttpClient(
            "Prometheus",
            url,
            policy,
            timeout_s=timeout_s,
            max_bytes=max_bytes,
            most_idle=max_connections,
        )
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(max_connections, thread_name_prefix="prometheus")

    async def close(self) -> None:
        """Give the connections back."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def number(self, promql: str, at: float) -> float:
        """The value of `promql` at `at` (epoch seconds). Raises UnknownValueError.

        More than one series, no series, NaN, an infinity, a negative number and an answer with
        warnings (it may lack a part) are all unknown.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._number, promql, at)

    def _number(self, promql: str, at: float) -> float:
        form = {
            "query": promql,
            "time": f"{at:.3f}",
            "timeout": f"{self._timeout_s * 1e3:.0f}ms",
            # Two are enough to know that it is not one.
            "limit": "2",
        }
        try:
            answer = query_api(self._client, "query", form)
        except SlowAnswerError as error:
            raise TooSlowError(str(error)) from None
        except OutgoingError as error:
            raise UnknownValueError(str(error)) from None
        return parse(answer.body, answer.status)


def parse(body: bytes, status: int) -> float:
    """The one number in an answer of the query API. Raises UnknownValueError."""
    try:
        content = from_json(body, allow_inf_nan=False)
        if content["status"] != "success":
            said = shorten(content.get("error") or content.get("errorType") or "", 200)
            raise UnknownValueError(f"Prometheus refused the query: {said}")
        kind, result = content["data"]["resultType"], content["data"]["result"]
        # Before the warnings, since newer versions warn of having kept to the limit.
        if kind == "vector" and len(result) > 1:
            raise UnknownValueError("more than one series; aggregate to one, e.g. with sum()")
        if content.get("warnings"):
            said = shorten("; ".join(map(str, content["warnings"])), 200)
            raise UnknownValueError(f"Prometheus' answer may lack a part: {said}")
        return _number(kind, result)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise UnknownValueError(f"HTTP {status} with what is no answer of the query API") from None


def _number(kind: str, result: Any) -> float:
    if kind == "vector":
        if not result:
            raise UnknownValueError("no data")
        if "value" not in result[0]:
            raise UnknownValueError("a histogram where a number is needed")
        text = result[0]["value"][1]
    elif kind == "scalar":
        text = result[1]
    else:
        raise UnknownValueError(f"a {kind} where a number is needed")
    value = float(text)
    if not math.isfinite(value):
        raise UnknownValueError(f"{text} is no number")
    if value < 0:
        raise UnknownValueError(f"{text} is negative; use clamp_min(…, 0) where that means none")
    if value > _LARGEST:
        raise UnknownValueError(f"{text} is larger than Kubernetes can hold ({_LARGEST:g})")
    return value
