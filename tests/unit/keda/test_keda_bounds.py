"""What is kept for those who ask has a bound, whatever they ask."""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.bounded import Recent, a_few
from common.errors import InvalidInputError
from scaler.external.access_log import AccessLog
from scaler.external.metrics import Objects
from scaler.external.triggers import Triggers
from tests.support.keda import TARGET, Board, settings

MANY = 3_000
WIDE = "x" * 4_000


@dataclass
class Ref:
    name: str = "so"
    namespace: str = "team"
    scalerMetadata: dict[str, str] = field(default_factory=dict)  # noqa: N815 - the wire's name


def query(number: int) -> Ref:
    """Of almost 16 KB, most of which is KEDA's own."""
    text = f'jobs{{team="{WIDE}{number}"}}'[:4_096]
    certificate = "c" * 10_000
    metadata = {"query": text, "threshold": str(number + 1), "caCert": certificate}
    return Ref(scalerMetadata=metadata)


def test_distinct_metadata_without_end_take_a_bounded_memory() -> None:
    triggers = Triggers(settings(), Board())
    for number in range(MANY):
        triggers.of(query(number))
    assert triggers.kept.size <= 8 * 2**20
    assert 0 < len(triggers.kept) < MANY
    assert triggers.of(query(MANY - 1)) is triggers.of(query(MANY - 1)), "the last are still kept"


def test_so_many_triggers_are_kept_and_those_in_use_are_among_them() -> None:
    triggers = Triggers(settings(grpc_max_queries=10), Board())
    used = Ref(scalerMetadata={"target": TARGET})
    first = triggers.of(used)
    for number in range(200):
        triggers.of(Ref(scalerMetadata={"queue": f"q{number}"}))
        assert triggers.of(used) is first
    assert len(triggers.kept) == 20


def test_metadata_that_differ_are_different_triggers() -> None:
    triggers = Triggers(settings(), Board())
    one = triggers.of(Ref(scalerMetadata={"query": "a", "threshold": "1", "metricName": "b"}))
    other = triggers.of(Ref(scalerMetadata={"query": "b", "threshold": "1", "metricName": "a"}))
    turned = triggers.of(Ref(scalerMetadata={"metricName": "b", "threshold": "1", "query": "a"}))
    assert one != other
    assert one is turned


@pytest.mark.parametrize("field_name", ["name", "namespace"])
def test_a_name_that_is_too_long_is_refused_for_known_metadata_too(field_name: str) -> None:
    triggers = Triggers(settings(), Board())
    metadata = {"target": TARGET}
    triggers.of(Ref(scalerMetadata=metadata))
    with pytest.raises(InvalidInputError, match="at most 253"):
        triggers.of(Ref(**{field_name: "n" * 300}, scalerMetadata=metadata))


def test_the_access_log_keeps_so_many_scaled_objects() -> None:
    objects = Objects(100, lambda: 0.0)
    log = AccessLog(objects, "changes")
    for number in range(MANY):
        ref = Ref(name=f"so{number}{WIDE}")
        log.refused("IsActive", ref, "m", grpc.StatusCode.UNAVAILABLE, "r" * 500)
    states = objects._states
    assert len(states) == 100
    assert all(len(text) <= 253 for key in states for text in key)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 30))))
def test_recent_values_stay_within_their_bounds(puts: list[tuple[int, int]]) -> None:
    kept: Recent[int, int] = Recent(5, most_size=50)
    for key, size in puts:
        kept.put(key, size, size)
        assert kept.get(key) == size, "what came last is kept"
        assert len(kept) <= 5
        assert kept.size == sum(kept.get(each) or 0 for each in range(21)) <= 50


def test_what_is_larger_than_the_whole_is_not_kept() -> None:
    kept: Recent[str, int] = Recent(5, most_size=50)
    kept.put("a", 1, 10)
    kept.put("b", 2, 51)
    assert (kept.get("a"), kept.get("b")) == (1, None)


def test_a_few_names_and_how_many_more() -> None:
    assert a_few([]) == "(none)"
    assert a_few(["a", "b"]) == "a, b"
    assert a_few([f"t{n}" for n in range(1_000)]).endswith("t9 and 990 more")
