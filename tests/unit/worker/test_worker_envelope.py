"""A message's properties: whatever they are, they are passed on byte for byte."""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.envelope import Envelope, WireProperties, short_text

short = st.text(max_size=60)
scalars: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20)
    | st.binary(max_size=20) | st.decimals(-1000, 1000, places=3)
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(short, inner, max_size=4),
    max_leaves=12,
)


def encoded(**properties: Any) -> bytes:
    return b"".join(pika.BasicProperties(**properties).encode())


def table(entries: bytes) -> bytes:
    """Properties with this header table alone."""
    return struct.pack(">HI", 1 << 13, len(entries)) + entries


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "content_type": short,
            "headers": st.dictionaries(short, values, min_size=1, max_size=6),
            "priority": st.integers(0, 255),
            "correlation_id": short,
            "reply_to": short,
            "expiration": short,
            "message_id": short,
            "timestamp": st.integers(0, 2**64 - 1),
            "type": short,
            "user_id": short,
            "app_id": short,
            "cluster_id": short,
        },
    )
)
def test_what_is_read_is_written_again(properties: dict[str, Any]) -> None:
    wire = encoded(**properties)
    envelope = Envelope.read(wire)
    assert envelope.problem == ""
    assert envelope.encode() == wire
    assert envelope.amended({"x-attempt": 1}).amended({}, without={"x-attempt"}).encode() == wire


@pytest.mark.parametrize(
    ("kind", "content", "value"),
    [
        (b"t", b"\1", True),
        (b"b", b"\xff", -1),
        (b"B", b"\xff", 255),
        (b"s", b"\xff\xfe", -2),
        (b"u", b"\xff\xfe", 65_534),
        (b"I", b"\xff\xff\xff\xff", -1),
        (b"i", b"\xff\xff\xff\xff", 2**32 - 1),
        (b"l", b"\xff" * 8, -1),
        (b"f", struct.pack(">f", 0.5), 0.5),
        (b"d", struct.pack(">d", 2.25), 2.25),
        (b"T", b"\xff" * 8, 2**64 - 1),
        (b"S", b"\0\0\0\2hi", "hi"),
        (b"S", b"\0\0\0\1\xff", "\ufffd"),
        (b"x", b"\0\0\0\1\xff", b"\xff"),
        (b"D", b"\2\0\0\1\0", None),
        (b"V", b"", None),
        (b"F", b"\0\0\0\0", None),
    ],
)
def test_every_type_of_header_is_kept_and_plain_ones_are_read(
    kind: bytes, content: bytes, value: object
) -> None:
    wire = table(b"\1h" + kind + content)
    envelope = Envelope.read(wire)
    assert envelope.header("h") == value
    assert envelope.encode() == wire


def test_no_nesting_is_too_deep() -> None:
    inner = b"V"
    for _ in range(20_000):
        inner = b"A" + struct.pack(">I", len(inner)) + inner
    wire = table(b"\1h" + inner + b"\4kept" + b"S\0\0\0\3yes")
    envelope = Envelope.read(wire)
    assert (envelope.problem, envelope.header("kept")) == ("", "yes")
    assert envelope.encode() == wire


@pytest.mark.parametrize(
    ("wire", "problem"),
    [
        (b"", "end after 0 bytes"),
        (table(b"\1h?x"), "unknown type b'?'"),
        (table(b"\1hS\0\0\1\0short"), "end after"),
        (b"\0\1\0\0", "unknown flags"),
        (struct.pack(">H", 1 << 7) + b"\5ab", "end after"),
    ],
)
def test_what_can_not_be_read_is_said_and_never_raised(wire: bytes, problem: str) -> None:
    assert problem in Envelope.read(wire).problem


@given(st.binary(max_size=200))
def test_nothing_that_arrives_raises(wire: bytes) -> None:
    envelope = Envelope.read(wire)
    assert envelope.problem or envelope.encode()


def test_a_name_that_comes_twice_stays_twice_until_it_is_set() -> None:
    wire = table(b"\1hV\1ht\1")
    assert Envelope.read(wire).encode() == wire
    assert Envelope.read(wire).amended({"h": "once"}).headers == (("h", b"S\0\0\0\4once"),)


def test_long_texts_are_cut_between_letters() -> None:
    assert len(short_text("ü" * 200)) == 255
    assert short_text("ü" * 200)[1:].decode() == "ü" * 127


def test_pika_finds_in_it_what_it_looks_for() -> None:
    wire = encoded(message_id="m", timestamp=5, headers={"n": 1, "deep": {"a": [Decimal("0.5")]}})
    properties = WireProperties().decode(wire)
    assert (properties.message_id, properties.timestamp, properties.priority) == ("m", 5, None)
    assert properties.headers == {"n": 1, "deep": None}
    assert b"".join(properties.encode()) == wire
    assert pika.spec.props[pika.BasicProperties.INDEX] is WireProperties
    with pytest.raises(AttributeError):
        _ = properties.nothing
