"""A thin client for Prometheus' query API that never mistakes silence for a number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from common.urls import without_credentials


class PrometheusError(Exception):
    """No answer that can be used; the sentence is fit for a reason."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One element of an instant vector."""

    labels: Mapping[str, str]
    value: float


def quoted(text: str) -> str:
    """`text` as a PromQL string literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


class Prometheus:
    """One Prometheus server. Not for use from several threads."""

    def __init__(self, url: str, *, timeout_s: float = 2.0) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._session = requests.Session()

    def vector(self, query: str) -> list[Sample]:
        """The instant vector (or scalar) of `query` now; values may be NaN or infinite.

        Raises PrometheusError when it does not answer in time, refuses, warns that the answer
        is partial, or answers with anything else.
        """
        data = self._get("query", {"query": query})
        kind: Any = data.get("resultType")
        result: Any = data.get("result")
        try:
            if kind == "scalar":
                return [Sample({}, float(result[1]))]
            if kind == "vector":
                return [Sample(item["metric"], float(item["value"][1])) for item in result]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise PrometheusError(f"Prometheus answered something unreadable: {error}") from error
        raise PrometheusError(f"Prometheus answered a {kind}, a vector is needed")

    def matrix(
        self, query: str, start: float, end: float, step_s: float
    ) -> list[tuple[Mapping[str, str], list[tuple[float, float]]]]:
        """(labels, [(epoch seconds, value)]) of each series over the range; NaN left out."""
        arguments = {"query": query, "start": start, "end": end, "step": step_s}
        data = self._get("query_range", arguments)
        try:
            return [
                (
                    item["metric"],
                    [
                        (float(at), float(value))
                        for at, value in item["values"]
                        if math.isfinite(float(value))
                    ],
                )
                for item in data["result"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise PrometheusError(f"Prometheus answered something unreadable: {error}") from error

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def _get(self, endpoint: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        where = without_credentials(self.url)
        try:
            response = self._session.post(
                f"{self.url}/api/v1/{endpoint}",
                data={**arguments, "timeout": self._timeout_s},
                timeout=self._timeout_s,
            )
            content = response.json()
        except requests.Timeout as error:
            limit = f"{self._timeout_s:g} s"
            raise PrometheusError(f"Prometheus at {where} did not answer in {limit}") from error
        except requests.ConnectionError as error:
            raise PrometheusError(f"Prometheus at {where} is not reachable") from error
        except (requests.RequestException, ValueError) as error:
            raise PrometheusError(f"Prometheus at {where} gave no usable answer") from error
        if not isinstance(content, dict) or content.get("status") != "success":
            said = content.get("error", "no reason") if isinstance(content, dict) else "no JSON"
            raise PrometheusError(f"Prometheus refused the query: {str(said)[:200]}")
        if content.get("warnings"):
            raise PrometheusError(f"Prometheus' answer is partial: {content['warnings'][0]:.200}")
        data = content.get("data")
        if not isinstance(data, dict):
            raise PrometheusError(f"Prometheus at {where} gave no usable answer")
        return data
