"""A memory is read whoever wrote it: an older version, a newer one, or a disk that lost a part."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.policy.decide import decide
from scaler.policy.decision import Decision
from scaler.policy.explain import explain
from scaler.policy.forecast import KEPT_HOURS, Forecast, Hours
from scaler.policy.limits import Limit
from scaler.policy.mean_reversion import Mean, Moments
from scaler.policy.memory import ADDITIONS, Memory, apply_order, marks, order_at
from scaler.policy.observation import Fleet, Known, Observation, PoolFleet, Unknown
from scaler.policy.orders import Order, OrderKind
from scaler.policy.schedule import Bounds
from scaler.policy.target import MAX_REPLICAS, Target
from scaler.policy.usual import Usual

NOW = 1_700_000_000.0
KEPT: dict[str, Any] = json.loads(Path(__file__).with_name("history_0_1_0.json").read_text())
WHOLE = Memory(
    at=NOW,
    target=4,
    replaced=1,
    changed_at=NOW - 9,
    known_at=NOW - 8,
    busy=3,
    wanted=((NOW - 7, 5.0), (NOW, 2.0)),
    short_since=NOW - 6,
    capped_at=NOW - 5,
    capped_again=True,
    capped_until=NOW + 50,
    capped_high=9,
    highs=((NOW - 4, 5.0),),
    lows=((NOW - 3, -2.0),),
    usual=Usual(
        Moments(
            *(NOW - 2, 90.0, 4.0, 60.0, 2.5, -0.5, 1.5, True, NOW - 40, 60.0, 0.25),
            past=((NOW - 50, 3.0), (NOW, 4.0)),
        ),
        Moments(
            NOW - 2, 90.0, 0.5, 0.0, 0.0, 0.0, 0.5, False, NOW - 9, 8.0, 1.0, ((NOW - 2, 0.5),)
        ),
        Mean(NOW - 2, 90.0, 2.0),
    ),
    hours=Hours(472_221, (1.0, None, 2.0), 3.0, 4),
    outlook=Forecast(472_222, 3.0, 0.5, 1.5),
    order=Order(at=NOW, order=OrderKind.PAUSE, reason="a deploy", by=""),
)
WINDOWS = ("wanted", "highs", "lows")
NAMES = [name for name in Memory._fields if name != "order"]


def content(memory: Memory = WHOLE) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(json.dumps(memory.to_json()))
    return written


def with_field(name: str, value: object) -> dict[str, Any]:
    """What was written, with another `value` where it has that field."""
    written = content()
    (written[ADDITIONS] if marks()[name].added else written)[name] = value
    return written


def read(written: object) -> tuple[Memory, list[str]]:
    lost: list[str] = []
    return Memory.from_json(written, lost.append), lost


def deepened(value: Any) -> Any:
    """As a newer version may write it: a field more in every object."""
    if isinstance(value, Mapping):
        return {**{name: deepened(one) for name, one in value.items()}, "of a later version": {}}
    return [deepened(one) for one in value] if isinstance(value, list) else value


def test_what_a_newer_version_added_is_passed_over_at_every_depth() -> None:
    assert read(deepened(content())) == (WHOLE, [])
    order = Order(at=NOW, order=OrderKind.OVERRIDE, reason="x", by="", until=NOW + 9, replicas=3)
    overridden = apply_order(WHOLE, order)
    assert read(deepened(content(overridden))) == (overridden, [])


def test_what_an_older_version_wrote_is_read() -> None:
    memory, lost = read(KEPT["memory"][1])
    assert not lost
    assert memory.order is not None
    assert (memory.target, memory.order.reason) == (2, "a deploy")


def test_the_shape_is_that_of_0_1_0_at_every_depth() -> None:
    """That version refuses any field that it does not know, and with it the pause."""
    override = Order(at=NOW, order=OrderKind.OVERRIDE, reason="x", by="", until=NOW, replicas=3)
    older = KEPT["memory"][1]
    parts = {
        "hours": older["hours"].keys(),
        "outlook": older["outlook"].keys(),
        "pause": older["pause"].keys(),
        "override": {"reason", "until", "replicas"},
    }
    for memory in (WHOLE, Memory(), Memory(known_at=NOW), apply_order(WHOLE, override)):
        written = content(memory)
        assert written.pop(ADDITIONS).keys() == {name for name, of in marks().items() if of.added}
        assert written.keys() == older.keys()
        for name, keys in parts.items():
            assert written[name] is None or written[name].keys() == keys
        assert all(len(point) == 2 for name in WINDOWS for point in written[name])


BROKEN: list[object] = [
    "text",
    {},
    {"a": 1},
    [1],
    [[1]],
    [[NOW, 1, 2]],
    [[NOW, "x"]],
    [["x", 1]],
    -1,
    1.5e300,
    10**400,
    inf,
    float("nan"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", BROKEN, ids=lambda value: repr(value)[:20])
def test_a_broken_field_costs_itself_and_is_told(name: str, value: object) -> None:
    memory, lost = read(with_field(name, value))
    for other in NAMES:
        if other != name:
            assert getattr(memory, other) == getattr(WHOLE, other)
    assert memory.order is not None
    assert memory.order.reason == "a deploy"
    assert lost == [name]
    assert getattr(memory, name) == getattr(Memory(), name)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_field_has_its_default(name: str) -> None:
    missing = content()
    del (missing[ADDITIONS] if marks()[name].added else missing)[name]
    for each in (missing, with_field(name, None)):
        memory, lost = read(each)
        assert not lost
        assert getattr(memory, name) == getattr(Memory(), name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("target", MAX_REPLICAS + 1),
        ("target", 2.5),
        ("target", True),
        ("busy", "3"),
        ("capped_again", 1),
        ("at", True),
        ("known_at", 1e12),
        ("wanted", [[NOW, 1e9]]),
        ("wanted", [[NOW, 1]] * 30_000),
        ("hours", {"last": 1, "means": [1, "x"], "sum": 0, "count": 0}),
        ("hours", {"last": 1, "means": [], "sum": inf, "count": 0}),
        ("outlook", {"hour": 1, "expected": "x"}),
    ],
)
def test_what_only_looks_right_is_broken_too(name: str, value: object) -> None:
    assert read({**content(), name: value})[1] == [name]


def test_a_window_is_put_in_order_and_hours_are_cut_to_what_is_looked_at() -> None:
    points = [[NOW, 2], [NOW - 9, 1], [NOW - 5, 7], [NOW - 7, 3], [NOW - 1, 2]]
    memory, lost = read({**content(), "wanted": points})
    assert memory.wanted == ((NOW - 5, 7.0), (NOW, 2.0))
    long = {"last": 9_000, "means": [1.0] * 5_000, "sum": 0, "count": 0}
    memory, lost = read({**content(), "hours": long})
    assert len(memory.hours.means) == KEPT_HOURS
    assert not lost


@pytest.mark.parametrize("nothing", [None, [], "text", 7, [["at", 1]]])
def test_what_is_no_memory_at_all_is_refused(nothing: object) -> None:
    with pytest.raises(ValueError, match="a memory is an object, not"):
        read(nothing)


LOOK = Observation(
    waiting=Known(9, 0.0, "q"),
    in_flight=Known(1, 0.0, "q"),
    idle=Known(3, 0.0, "q"),
    arrival_rate=Unknown("", ""),
    burstiness=Unknown("", ""),
    mean_duration=Unknown("", ""),
    startup=Unknown("", ""),
    fleet=Fleet(4, 4),
)


@pytest.mark.parametrize("kind", ["pause", "override"])
@pytest.mark.parametrize(
    ("part", "until"),
    [
        ("text", None),
        (7, None),
        ({}, None),
        ([], None),
        ({"reason": "x", "until": "soon", "replicas": 3}, None),
        ({"reason": 5, "until": NOW + 60, "replicas": 3}, NOW + 60),
    ],
)
def test_an_order_that_cannot_be_read_leaves_the_fleet_as_it_is(
    kind: str, part: object, until: float | None
) -> None:
    """Dropped, it would let go what a person has stopped."""
    memory, lost = read({**content(apply_order(WHOLE, RESUME)), kind: part})
    assert lost == [kind]
    decision, _ = decide(LOOK, memory, Target(), NOW)
    assert (decision.limit, decision.replicas) == (Limit.PAUSE, 5)
    assert f"the {kind} in the history cannot be read" in explain(decision, "")
    assert memory.order is not None
    assert memory.order.until == until


RESUME = Order(at=NOW, order=OrderKind.RESUME, reason="x", by="me")


@pytest.mark.parametrize(
    "part", [{"reason": "x", "until": NOW + 9}, {"reason": "x", "until": NOW, "replicas": -1}]
)
def test_neither_is_an_override_without_its_number(part: object) -> None:
    memory, lost = read({**content(apply_order(WHOLE, RESUME)), "override": part})
    assert lost == ["override"]
    assert memory.order is not None
    assert memory.order.order is OrderKind.PAUSE


def test_of_two_orders_that_0_1_0_kept_at_once_the_pause_is_in_force_as_it_was_there() -> None:
    both = {"override": {"reason": "y", "until": NOW + 9, "replicas": 3}}
    memory, _ = read({**content(), **both})
    order = order_at(memory, NOW)
    assert order is not None
    assert order.order is OrderKind.PAUSE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["reason", "until", "replicas", "last", "means", "sum", "hour"]), inner
        )
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*NAMES, "pause", "override", "order"]), JSON))
def test_anything_is_read_and_decided_by(written: dict[str, Any]) -> None:
    memory, _ = read({**content(), **written})
    for seen in (LOOK, replace(LOOK, waiting=Unknown("", ""), fleet=None)):
        decision, after = decide(seen, memory, Target(forecast=True), NOW + 1)
        assert decision.replicas is None or 0 <= decision.replicas <= MAX_REPLICAS
        assert explain(decision, "")
        json.dumps(after.to_json(), allow_nan=False)


@pytest.mark.parametrize("change", [lambda whole: whole, deepened])
def test_a_decision_of_a_newer_version_is_read(change: Callable[[Any], Any]) -> None:
    pooled = Fleet(4, 4, pools=(PoolFleet("spot", 4),))
    decision, _ = decide(replace(LOOK, fleet=pooled), Memory(), Target(), NOW)
    written = json.loads(json.dumps(decision.to_json()))
    # Signals and proposals are by name, so that what is added to these is one more of them.
    changed = {**change(written), "inputs": {n: change(s) for n, s in written["inputs"].items()}}
    changed["proposals"] = written["proposals"]
    assert Decision.from_json(changed, Bounds(0, 0, "", "")) == decision
