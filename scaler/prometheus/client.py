"""A thin client for Prometheus' query API that never mistakes silence for a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from common.http_client import HttpAnswer, HttpClient, OutgoingError
from common.outgoing import NO_SETTINGS, ClientPolicy
from scaler.prometheus.query_answers import (
    LabelledPoints,
    PrometheusError,
    Sample,
    matrix_of,
    vector_of,
)

__all__ = ["LabelledPoints", "Prometheus", "PrometheusError", "Sample", "quoted"]


def quoted(text: str) -> str:
    """`text` as a PromQL string literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


class Prometheus:
    """One Prometheus server. May be asked by several threads at once."""

    def __init__(
        self, url: str, *, timeout_s: float = 2.0, policy: ClientPolicy = NO_SETTINGS
    ) -> None:
        """Raises ConfigError where the policy does not go together with the URL."""
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._client = HttpClient("Prometheus", self.url, policy, timeout_s=timeout_s)

    def vector(self, query: str, timeout_s: float | None = None) -> list[Sample]:
        """The instant vector (or scalar) of `query` now; values may be NaN or infinite.

        Raises PrometheusError when it does not answer within `timeout_s` (default: the client's),
        refuses, warns that the answer is partial, or answers with anything else.
        """
        return vector_of(*self._ask("query", {"query": query}, timeout_s))

    def matrix(
        self,
        query: str,
        start: float,
        end: float,
        step_s: float,
        timeout_s: float | None = None,
    ) -> list[LabelledPoints]:
        """(labels, [(epoch seconds, value)]) of each series over the range; NaN left out. Raises
        PrometheusError as `vector` does."""
        arguments = {"query": query, "start": start, "end": end, "step": step_s}
        return matrix_of(*self._ask("query_range", arguments, timeout_s))

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _ask(
        self, endpoint: str, arguments: Mapping[str, Any], timeout_s: float | None
    ) -> tuple[bytes, int]:
        """Body and HTTP status of an answer."""
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            answer = query_api(self._client, endpoint, {**arguments, "timeout": limit_s}, limit_s)
        except OutgoingError as error:
            raise PrometheusError(str(error)) from None
        return answer.body, answer.status


def query_api(
    client: HttpClient, endpoint: str, form: Mapping[str, Any], timeout_s: float | None = None
) -> HttpAnswer:
    """The answer of an endpoint of the query API, by POST, as queries can be long. Raises
    OutgoingError."""
    return client.request(
        "POST",
        f"/api/v1/{endpoint}",
        body=urlencode(form).encode(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        timeout_s=timeout_s,
        repeatable=True,
    )
