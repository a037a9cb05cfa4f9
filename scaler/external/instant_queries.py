"""One number from Prometheus, or the reason why there is none."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Self

from common.errors import shorten
from common.urls import without_credentials
from scaler.external.errors import TooSlowError, UnknownValueError

if TYPE_CHECKING:
    import aiohttp

# Kubernetes counts in thousandths in 64 bits: nothing larger arrives as what it is.
_LARGEST = 9.2e15
_CHUNK = 16_384


class InstantQueries:
    """Puts instant queries to Prometheus. Create it, and use it, inside the event loop."""

    def __init__(self, url: str, *, timeout_s: float, max_bytes: int, max_connections: int) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self.shown_url = without_credentials(url)
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Give the connections back."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        # Seven megabytes that only a scaler needs whose KEDA asks for PromQL.
        import aiohttp  # noqa: PLC0415

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections, force_close=False),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                # What is not unpacked can't grow past the limit.
                headers={"Accept-Encoding": "identity", "User-Agent": "autoscaler"},
                auto_decompress=False,
            )
        return self._session

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def number(self, promql: str, at: float) -> float:
        """The value of `promql` at `at` (epoch seconds). Raises UnknownValueError.

        More than one series, no series, NaN, an infinity, a negative number and an answer with
        warnings (it may lack a part) are all unknown.
        """
        form = {
            "query": promql,
            "time": f"{at:.3f}",
            "timeout": f"{self._timeout_s * 1e3:.0f}ms",
            # Two are enough to know that it is not one.
            "limit": "2",
        }
        session = self._opened()
        from aiohttp import ClientError  # noqa: PLC0415 - see _opened

        try:
            async with session.post(self._url, data=form, allow_redirects=False) as answer:
                body = await self._read(answer)
                status = answer.status
        except TimeoutError:
            raise TooSlowError(f"Prometheus did not answer within {self._timeout_s:g} s") from None
        except (ClientError, OSError, ValueError) as error:
            raise UnknownValueError(
                f"Prometheus did not answer: {shorten(str(error) or type(error).__name__, 200)}"
            ) from None
        return parse(body, status)

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        parts, size = [], 0
        async for part in answer.content.iter_chunked(_CHUNK):
            parts.append(part)
            size += len(part)
            if size > self._max_bytes:
                answer.close()
                raise UnknownValueError(
                    f"Prometheus answered more than the {self._max_bytes} bytes allowed"
                )
        return b"".join(parts)


def parse(body: bytes, status: int) -> float:
    """The one number in an answer of the query API. Raises UnknownValueError."""
    try:
        content = json.loads(body)
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
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
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
