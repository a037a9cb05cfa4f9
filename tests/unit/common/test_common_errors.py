"""What an error says of a value: one line, bounded, harmless, whatever the value is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInputError, cut, printable, shorten

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]))
    | st.binary()
    | st.dates()
    | st.builds(object)
)
anything = st.recursive(
    scalars,
    lambda x: st.lists(x) | st.lists(x).map(tuple) | st.dictionaries(st.text(), x),
    max_leaves=20,
)


class Hostile:
    """Fails when it is looked at."""

    def __repr__(self) -> str:
        raise RecursionError


class Lying:
    """Writes what a terminal acts on."""

    def __repr__(self) -> str:
        return "\x1b]0;title\x07\n"


def nested(depth: int, wrap: Any) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = wrap(value)
    return value


@given(anything, st.integers(20, 200))
def test_a_value_is_shown_on_one_line_of_bounded_length(value: Any, limit: int) -> None:
    text = shorten(value, limit)
    assert len(text) <= limit
    assert text.isprintable()
    text.encode()


@given(
    st.recursive(
        st.integers() | st.text(max_size=5),
        lambda x: st.lists(x, max_size=3).map(tuple) | st.lists(x),
    )
)
def test_what_fits_is_the_repr(value: Any) -> None:
    if len(repr(value)) <= 80:
        assert shorten(value) == repr(value)


# Made in the test: pytest itself would fail at naming some of these.
HOSTILE: dict[str, tuple[Callable[[], Any], str]] = {
    "lists": (lambda: nested(50_000, lambda x: [x]), "[" * 79 + "…"),
    "objects": (lambda: nested(50_000, lambda x: {"a": x}), ("{'a': " * 20)[:79] + "…"),
    "tuples": (lambda: nested(50_000, lambda x: (x,)), "(" * 79 + "…"),
    "digits": (lambda: 10**100_000, "an integer of 332193 bits"),
    "letters": (lambda: "x" * 10_000_000, "'" + "x" * 78 + "…"),
    "escapes": (lambda: "\x1b[31m\u202e\ud800\r\n", r"'\x1b[31m\u202e\ud800\r\n'"),
    "failing": (Hostile, "(Hostile)"),
    "lying": (Lying, r"\x1b]0;title\x07\n"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_value_is_harmless(kind: str) -> None:
    made, shown = HOSTILE[kind]
    assert shorten(made()) == shown


def test_a_message_is_one_printable_line_whatever_its_parts_are() -> None:
    error = InvalidInputError("a\n\x1b[2J" + "b" * 5_000, nested(9_000, lambda x: [x]), "c\nd")
    assert str(error).isprintable()
    assert len(str(error)) < 400
    assert error.field.startswith("a\n")


@given(st.text(st.characters(exclude_categories=[])))
def test_printable_changes_only_what_is_not(text: str) -> None:
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text


def test_cutting_leaves_what_fits() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "ab…"
