"""What a trigger's metadata may say."""

from __future__ import annotations

import pytest

from common.errors import InvalidInputError
from scaler.external.metadata import OnUnknown, parse
from scaler.prometheus.client import quoted

QUERY = {"query": "sum(jobs)", "threshold": "5"}


def test_a_query_has_these_defaults() -> None:
    trigger = parse(QUERY)
    assert trigger.value_queries == ("sum(jobs)",)
    assert (trigger.target_size, trigger.activation_threshold) == (5, 0)
    assert trigger.on_unknown is OnUnknown.ERROR
    assert trigger.name.startswith("query-")


def test_a_queue_reads_our_own_series_by_an_escaped_label() -> None:
    trigger = parse({"queue": 'a"b\\c\nd'})
    assert trigger.value_queries[0] == r'queue:jobs_demand:sum{queue="a\"b\\c\nd"}'
    assert trigger.value_queries[1] == r'queue:jobs_in_flight:max{queue="a\"b\\c\nd"}'
    assert trigger.target_size == 1
    assert quoted("plain") == '"plain"'


@pytest.mark.parametrize(
    ("metadata", "field", "allowed"),
    [
        ({}, "scalerMetadata", "exactly one of target, query, queue"),
        ({"target": "a", "queue": "b"}, "scalerMetadata", "exactly one of"),
        ({"query": "jobs"}, "threshold", "with query: a number above 0"),
        ({"target": "a", "threshold": "1"}, "threshold", "with target: metricName"),
        ({"queue": "a", "threshold": "1"}, "threshold", "with queue: holdSeconds, metricName"),
        ({**QUERY, "perWorker": "1"}, "perWorker", "with query: activationThreshold"),
        ({"target": ""}, "target", "at least 1 character"),
        ({"target": "a", "onUnknown": "hold"}, "onUnknown", "with target: metricName"),
        ({**QUERY, "activationThreshold": "-1"}, "activationThreshold", "greater than or equal"),
        ({**QUERY, "onUnknown": "zero"}, "onUnknown", "'error', 'hold' or 'value'"),
        ({**QUERY, "onUnknown": "value"}, "unknownValue", "with onUnknown value"),
        (
            {**QUERY, "onUnknown": "value", "unknownValue": "0"},
            "unknownValue",
            "greater than 0",
        ),
        ({**QUERY, "holdSeconds": "5"}, "holdSeconds", "nothing unless onUnknown is hold"),
        ({**QUERY, "unknownValue": "5"}, "unknownValue", "nothing unless onUnknown is value"),
        ({**QUERY, "metricName": "a/b"}, "metricName", "pattern"),
        ({**QUERY, "treshold": "1"}, "treshold", "one of activationThreshold, holdSeconds"),
        ({"query": "jobs[5m]", "threshold": "1"}, "query", "instant vector or a scalar"),
        ({"query": "jobs[5m:1m]", "threshold": "1"}, "query", "instant vector or a scalar"),
        ({"query": '"text"', "threshold": "1"}, "query", "instant vector or a scalar"),
        ({"query": "jobs{", "threshold": "1"}, "query", "PromQL ("),
        ({"query": "nosuch(jobs)", "threshold": "1"}, "query", "PromQL ("),
        ({"query": '{a=~".+"}', "threshold": "1"}, "query", "name a metric or"),
        ({"query": 'sum(rate({a=~"b.+"}[5m]))', "threshold": "1"}, "query", "name a metric or"),
        ({"query": '{a="b" or c=~".*"}', "threshold": "1"}, "query", "name a metric or"),
        ({**QUERY, "inFlightQuery": "jobs{"}, "inFlightQuery", "PromQL ("),
        ({"query": "j" * 5_000, "threshold": "1"}, "query", "at most 4096 characters"),
        ({"queue": "q" * 20_000}, "scalerMetadata", "at most 16384 bytes"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(
    metadata: dict[str, str], field: str, allowed: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse(metadata)
    assert caught.value.field == field
    assert allowed in caught.value.allowed
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "query", ['{a="b"}', '{"jobs.total"}', '{__name__="jobs"}', "vector(1)", "time()", "-jobs"]
)
def test_narrow_selectors_pass(query: str) -> None:
    assert parse({"query": query, "threshold": "1"}).query == query


def test_names_tell_apart_what_differs() -> None:
    asked = [
        {"queue": "Jobs"},
        {"queue": "jobs"},
        {"queue": "jobs_"},
        {"queue": "jobs-"},
        {"queue": "ü"},
        {"queue": "j" * 50},
        {"queue": "j" * 51},
        {"target": "jobs"},
        {"query": "jobs", "threshold": "1"},
        {"query": "jobs + 0", "threshold": "1"},
    ]
    names = [parse(metadata).name for metadata in asked]
    assert len({name.lower() for name in names}) == len(names)
    assert all(len(name) <= 63 for name in names)
