"""Whatever comes back from Prometheus is samples, or a PrometheusError with a short sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.prometheus.query_answers import (
    MAX_LABELS,
    PrometheusError,
    Sample,
    matrix_of,
    vector_of,
)

AT = 1_700_000_000.5
Parse = Callable[[bytes, int], object]
SAYS = r"^Prometheus answered (a|something) "
BOTH: list[Parse] = [vector_of, matrix_of]


def answer(kind: Any, result: Any, **more: Any) -> bytes:
    data = {"resultType": kind, "result": result}
    return json.dumps({"status": "success", "data": data, **more}).encode()


def one(value: Any, labels: Any = None) -> bytes:
    return answer("vector", [{"metric": {"a": "b"} if labels is None else labels, "value": value}])


def series(values: Any) -> bytes:
    return answer("matrix", [{"metric": {"a": "b"}, "values": values}])


def test_samples_have_labels_value_and_the_time_they_were_evaluated_for() -> None:
    result = [
        {"metric": {"a": "b", "c": "ü"}, "value": [AT, "1.5"]},
        {"metric": {}, "value": [1_700_000_001, "+Inf"]},
    ]
    assert vector_of(answer("vector", result), 200) == [
        Sample({"a": "b", "c": "ü"}, 1.5, AT),
        Sample({}, math.inf, 1_700_000_001.0),
    ]
    assert math.isnan(vector_of(one([AT, "NaN"]), 200)[0].value)
    assert vector_of(answer("scalar", [AT, "7"]), 200) == [Sample({}, 7.0, AT)]
    assert vector_of(answer("vector", []), 200) == []
    assert Sample({}, 1.0).at == 0


def test_a_matrix_has_the_points_that_are_numbers() -> None:
    body = series([[AT, "1"], [AT + 1, "NaN"], [AT + 2, "-Inf"], [1_700_000_003, "4"]])
    assert matrix_of(body, 200) == [({"a": "b"}, [(AT, 1.0), (1_700_000_003.0, 4.0)])]
    assert matrix_of(series([]), 200) == [({"a": "b"}, [])]
    assert matrix_of(answer("matrix", []), 200) == []


def test_what_a_newer_prometheus_remarks_is_no_partial_answer() -> None:
    result = [{"metric": {}, "value": [AT, "1"]}]
    remarked = answer("vector", result, infos=["PromQL info: metric might not be a counter"])
    assert vector_of(remarked, 200) == [Sample({}, 1.0, AT)]
    assert vector_of(answer("vector", result, warnings=[]), 200)
    with pytest.raises(PrometheusError, match="partial: store-2: connection refused"):
        vector_of(answer("vector", result, warnings=["store-2: connection refused"]), 200)
    with pytest.raises(PrometheusError, match="partial"):
        vector_of(answer("vector", result, warnings={"odd": 1}), 200)


@pytest.mark.parametrize("parse", BOTH)
@pytest.mark.parametrize("status", [400, 422, 503])
def test_a_refusal_keeps_its_own_words(parse: Parse, status: int) -> None:
    said = "invalid parameter \x1b[31m\nquery" + "!" * 1000
    body = json.dumps({"status": "error", "errorType": "bad_data", "error": said}).encode()
    with pytest.raises(PrometheusError) as caught:
        parse(body, status)
    text = str(caught.value)
    assert text.startswith(r"Prometheus refused the query: invalid parameter \x1b[31m\nquery!")
    assert len(text) < 300
    with pytest.raises(PrometheusError, match="refused the query: timeout"):
        parse(b'{"status":"error","errorType":"timeout"}', status)


NO_ANSWERS = {
    "nothing": b"",
    "a page": b"<html>502 Bad Gateway</html>",
    "null": b"null",
    "a number": b"1",
    "a list": b"[]",
    "another API's": b'{"ok": true}',
    "no data": b'{"status":"success"}',
    "data that is null": b'{"status":"success","data":null}',
    "no UTF-8": one([AT, "1"], {"a": "?"}).replace(b"?", b"\xff\xfe"),
    "half a character": one([AT, "1"], {"a": "\ud800"}),
    "half a character as a name": one([AT, "1"], {"\udfff": "a"}),
    "cut short": one([AT, "1"])[:-4],
    "nested deeply": b"[" * 200_000,
    "nested deeply inside": one("?").replace(b'"?"', b"[" * 100_000 + b"]" * 100_000),
    "a literal NaN": one([math.nan, "1"]),
    "5,000 digits": one("?").replace(b'"?"', b"9" * 5_000),
}


@pytest.mark.parametrize("parse", BOTH)
@pytest.mark.parametrize("case", NO_ANSWERS)
def test_what_is_no_answer_of_the_api_is_an_error(parse: Parse, case: str) -> None:
    with pytest.raises(PrometheusError, match="HTTP 200 with what is no answer"):
        parse(NO_ANSWERS[case], 200)


def test_an_answer_of_another_status_is_none() -> None:
    with pytest.raises(PrometheusError, match="HTTP 502 with what is no answer"):
        vector_of(one([AT, "1"]), 502)


MISSHAPEN: dict[str, bytes] = {
    "a value that is a number": one([AT, 1]),
    "a value that is null": one([AT, None]),
    "a value that is no number": one([AT, "soon"]),
    "a value that is a list": one([AT, ["1"]]),
    "a time that is text": one(["1", "1"]),
    "a time that is null": one([None, "1"]),
    "a time that is a truth": one([True, "1"]),
    "a time of 400 digits": one([10**400, "1"]),
    "a time beyond all numbers": one("?").replace(b'"?"', b'[1e999,"1"]'),
    "a value alone": one(["1"]),
    "a value too many": one([AT, "1", "2"]),
    "a text in place of a sample": one("ab"),
    "an object in place of a sample": one({"a": 1, "b": 2}),
    "null in place of a sample": one(None),
    "no sample": answer("vector", [{"metric": {}}]),
    "no labels": answer("vector", [{"value": [AT, "1"]}]),
    "labels that are a list": one([AT, "1"], ["a"]),
    "labels that are null": answer("vector", [{"metric": None, "value": [AT, "1"]}]),
    "a label that is a number": one([AT, "1"], {"a": 1}),
    "a label that is null": one([AT, "1"], {"a": None}),
    "a label that is an object": one([AT, "1"], {"a": {}}),
    "a label of 1 MB": one([AT, "1"], {"a": "x" * 1_000_000}),
    "elements that are null": answer("vector", [None]),
    "elements that are text": answer("vector", ["ab", "cd"]),
    "a result that is null": answer("vector", None),
    "a result that is an object": answer("vector", {"metric": {}, "value": [AT, "1"]}),
    "a result that is text": answer("vector", "ab"),
    "a scalar that is null": answer("scalar", None),
    "a scalar that is text": answer("scalar", "ab"),
    "a scalar without a value": answer("scalar", [AT]),
    "no result": b'{"status":"success","data":{"resultType":"vector"}}',
    "no type": b'{"status":"success","data":{"result":[]}}',
    "a matrix": series([[AT, "1"]]),
    "a string": answer("string", [AT, "many"]),
    "a type that is a list": answer(["vector"], []),
    "a type that is long": answer("x" * 10_000, []),
    "a histogram": answer("vector", [{"metric": {}, "histogram": [AT, {"count": "1"}]}]),
}


@pytest.mark.parametrize("case", MISSHAPEN)
def test_a_misshapen_vector_is_an_error(case: str) -> None:
    with pytest.raises(PrometheusError, match=SAYS) as caught:
        vector_of(MISSHAPEN[case], 200)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "body",
    [
        one([AT, "1"]),
        answer("scalar", [AT, "1"]),
        answer("matrix", None),
        answer("matrix", [None]),
        answer("matrix", [{"metric": {}}]),
        answer("matrix", [{"metric": {}, "histograms": [[AT, {"count": "1"}]]}]),
        series(None),
        series("ab"),
        series({"a": 1}),
        series([[AT]]),
        series([[AT, "1"], [AT]]),
        series([[AT, "1"], [AT, 2]]),
        series([[AT, "soon"]]),
    ],
)
def test_a_misshapen_matrix_is_an_error(body: bytes) -> None:
    with pytest.raises(PrometheusError, match=SAYS):
        matrix_of(body, 200)


def test_histograms_are_called_so() -> None:
    for parse, body in (
        (vector_of, MISSHAPEN["a histogram"]),
        (matrix_of, answer("matrix", [{"metric": {}, "histograms": []}])),
    ):
        with pytest.raises(PrometheusError, match="a histogram where a number is needed"):
            parse(body, 200)


def test_labels_may_be_long_but_not_endless() -> None:
    assert vector_of(one([AT, "1"], {"a": "x" * MAX_LABELS}), 200)
    with pytest.raises(PrometheusError, match="labels of more than 65536 characters"):
        vector_of(one([AT, "1"], {"a": "x" * MAX_LABELS, "b": "x"}), 200)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300)
@given(
    kind=st.sampled_from(["vector", "matrix", "scalar", "string"]) | _JSON,
    result=_JSON
    | st.lists(
        st.fixed_dictionaries(
            {}, optional={"metric": _JSON, "value": _JSON, "values": _JSON | st.lists(_JSON)}
        ),
        max_size=3,
    ),
    more=st.dictionaries(st.sampled_from(["status", "data", "error", "warnings", "infos"]), _JSON),
    status=st.sampled_from([200, 204, 400, 503]),
)
def test_no_answer_ends_in_another_error(
    kind: Any, result: Any, more: dict[str, Any], status: int
) -> None:
    body = answer(kind, result, **more)
    for parse in BOTH:
        with suppress(PrometheusError):
            parse(body, status)


@given(st.binary(max_size=200))
def test_no_bytes_end_in_another_error(body: bytes) -> None:
    for parse in BOTH:
        with pytest.raises(PrometheusError):
            parse(body, 200)
