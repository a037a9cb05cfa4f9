"""A thin client for Prometheus' query API that never mistakes silence for a number."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import requests

from common.urls import without_credentials
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

    def __init__(self, url: str, *, timeout_s: float = 2.0) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._sessions = threading.local()

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
        self._sessions = threading.local()

    def _ask(
        self, endpoint: str, arguments: Mapping[str, Any], timeout_s: float | None
    ) -> tuple[bytes, int]:
        """Body and HTTP status of an answer."""
        where, limit_s = without_credentials(self.url), timeout_s or self._timeout_s
        try:
            answer = self._session().post(
                f"{self.url}/api/v1/{endpoint}",
                data={**arguments, "timeout": limit_s},
                timeout=limit_s,
            )
        except requests.Timeout as error:
            limit = f"{limit_s:g} s"
            raise PrometheusError(f"Prometheus at {where} did not answer in {limit}") from error
        except requests.ConnectionError as error:
            raise PrometheusError(f"Prometheus at {where} is not reachable") from error
        except (requests.RequestException, ValueError) as error:
            raise PrometheusError(f"Prometheus at {where} gave no usable answer") from error
        return answer.content, answer.status_code

    def _session(self) -> requests.Session:
        if not hasattr(self._sessions, "session"):
            self._sessions.session = requests.Session()
        session: requests.Session = self._sessions.session
        return session
