"""What Prometheus' query API answered, checked as a whole before any of it is used.

Answers of tens of thousands of samples come every second, so everything here goes by columns:
labels, times and values are each checked and converted in one pass that the interpreter does
itself, and no function of ours is called for a single sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic_core import from_json

from common.errors import cut, printable

MAX_LABELS = 65_536
"""Characters that the labels of one series may have in all."""
_SAID = 200
# What every use of an answer of another shape than expected raises.
_MISSHAPEN = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)

LabelledPoints = tuple[Mapping[str, str], list[tuple[float, float]]]
"""Labels, and (epoch seconds, value) of each point."""


class PrometheusError(Exception):
    """No answer that can be used; the sentence is fit for a reason."""


class Sample(NamedTuple):
    """One element of an instant vector."""

    labels: Mapping[str, str]
    value: float
    at: float = 0.0
    """The time that it was evaluated for, in epoch seconds."""


def vector_of(body: bytes, status: int) -> list[Sample]:
    """The instant vector, or the scalar, in an answer with that HTTP status. Values may be NaN or
    infinite. Raises PrometheusError for all else."""
    data = _data(body, status)
    try:
        kind, result = data["resultType"], data["result"]
        if kind == "scalar":
            times, values = _columns([result])
            return [Sample({}, values[0], times[0])]
        if kind == "vector":
            times, values = _columns([item["value"] for item in _list(result)])
            labels = _labels(result)
            return list(map(Sample._make, zip(labels, values, times, strict=True)))
    except _MISSHAPEN as error:
        raise _unreadable(data, error) from None
    raise PrometheusError(f"Prometheus answered a {_named(kind)}, a vector is needed")


def matrix_of(body: bytes, status: int) -> list[LabelledPoints]:
    """Each series of the matrix in an answer with that HTTP status; points that are NaN or
    infinite are left out. Raises PrometheusError for all else."""
    data = _data(body, status)
    try:
        kind, result = data["resultType"], data["result"]
        if kind == "matrix":
            labels = _labels(_list(result))
            return [
                (each, _points(item["values"])) for each, item in zip(labels, result, strict=True)
            ]
    except _MISSHAPEN as error:
        raise _unreadable(data, error) from None
    raise PrometheusError(f"Prometheus answered a {_named(kind)}, a matrix is needed")


def _data(body: bytes, status: int) -> Mapping[str, Any]:
    """The part of the answer that holds the result."""
    content = _content(body)
    if content is None:
        raise PrometheusError(f"HTTP {status} with what is no answer of Prometheus' query API")
    if content["status"] != "success":
        said = content.get("error") or content.get("errorType") or "no reason given"
        raise PrometheusError(f"Prometheus refused the query: {printable(cut(str(said), _SAID))}")
    # Newer versions have `infos` beside them, which don't say that anything is missing.
    warnings = content.get("warnings")
    if warnings:
        first = warnings[0] if isinstance(warnings, list) else warnings
        raise PrometheusError(f"Prometheus' answer is partial: {printable(cut(str(first), _SAID))}")
    data = content.get("data")
    if status != 200 or not isinstance(data, dict):
        raise PrometheusError(f"HTTP {status} with what is no answer of Prometheus' query API")
    return data


def _content(body: bytes) -> dict[str, Any] | None:
    """The JSON of the answer; None where it is none, or not the query API's."""
    try:
        # Quicker than the standard library's, and stricter: no NaN, no halves of characters, no
        # bytes that are no UTF-8, and no end of the stack.
        content = from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        return None
    return content if isinstance(content, dict) and "status" in content else None


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"a {type(value).__name__} where a list is needed")
    return value


def _labels(result: Sequence[Any]) -> list[dict[str, str]]:
    labels = [item["metric"] for item in result]
    # Joining refuses whatever is no text, and says how much there is of it.
    sizes = map(len, map("".join, map(dict.values, labels)))
    if max(sizes, default=0) > MAX_LABELS:
        raise ValueError(f"a series with labels of more than {MAX_LABELS} characters")
    return labels


def _columns(pairs: Sequence[Any]) -> tuple[list[float], list[float]]:
    """Times and values of `[time, "value"]`, of each of them."""
    if not pairs:
        return [], []
    times, texts = zip(*pairs, strict=True)
    if not {*map(type, times)} <= {int, float} or {*map(type, texts)} != {str}:
        raise TypeError("samples are to be [number, text]")
    if not all(map(math.isfinite, times)):
        raise ValueError("a time is no number")
    return list(map(float, times)), list(map(float, texts))


def _points(pairs: Any) -> list[tuple[float, float]]:
    times, values = _columns(_list(pairs))
    return [each for each in zip(times, values, strict=True) if math.isfinite(each[1])]


def _named(kind: Any) -> str:
    return printable(cut(str(kind), 40))


def _unreadable(data: Mapping[str, Any], error: Exception) -> PrometheusError:
    if _has_histograms(data.get("result")):
        return PrometheusError("Prometheus answered a histogram where a number is needed")
    said = printable(cut(f"{type(error).__name__}: {error}", _SAID))
    return PrometheusError(f"Prometheus answered something unreadable: {said}")


def _has_histograms(result: Any) -> bool:
    series = result if isinstance(result, list) else []
    return any(isinstance(each, dict) and {"histogram", "histograms"} & {*each} for each in series)
