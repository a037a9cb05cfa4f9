"""A message's properties as they came: read within bounds, passed on byte for byte.

What we do not know of a message is neither decoded nor encoded, so that nothing of it gets lost and
nothing in it does harm, however deep it is nested. The layout is that of AMQP 0-9-1, sections 4.2.5
and 4.2.6.1, with the field types that RabbitMQ documents.

Importing this module makes pika hand out messages with `WireProperties`: pika's own reading of a
header can fail, which ends the connection, and what it reads it can't always write again.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pika

Scalar = str | int | float | bool | bytes | None
_EMPTY: Mapping[str, bytes] = MappingProxyType({})
_SHORT, _OCTET, _LONG_LONG, _TABLE = "short string", "octet", "long long", "table"
_LAYOUT = (
    ("content_type", 15, _SHORT),
    ("content_encoding", 14, _SHORT),
    ("headers", 13, _TABLE),
    ("delivery_mode", 12, _OCTET),
    ("priority", 11, _OCTET),
    ("correlation_id", 10, _SHORT),
    ("reply_to", 9, _SHORT),
    ("expiration", 8, _SHORT),
    ("message_id", 7, _SHORT),
    ("timestamp", 6, _LONG_LONG),
    ("type", 5, _SHORT),
    ("user_id", 4, _SHORT),
    ("app_id", 3, _SHORT),
    ("cluster_id", 2, _SHORT),
)
_NUMBERS = {
    b"b": ">b", b"B": ">B", b"U": ">h", b"s": ">h", b"u": ">H", b"I": ">i", b"i": ">I",
    b"L": ">q", b"l": ">q", b"f": ">f", b"d": ">d", b"T": ">Q", b"t": ">?",
}  # fmt: skip
_LENGTHS = {kind: struct.calcsize(form) for kind, form in _NUMBERS.items()} | {b"D": 5, b"V": 0}
_COUNTED = frozenset({b"S", b"x", b"A", b"F"})
SHORT_STRING_BYTES = 255


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message's properties, each as its encoded value."""

    properties: Mapping[str, bytes] = field(default_factory=lambda: _EMPTY)
    """All but the headers, by name."""
    headers: tuple[tuple[str, bytes], ...] = ()
    """Name and value with its type, in order; a name may come twice."""
    problem: str = ""
    """Why they could not be read; what was read before that is there."""

    @classmethod
    def read(cls, encoded: bytes) -> Envelope:
        """What a content header carries after its sizes. Never raises; see `problem`."""
        properties: dict[str, bytes] = {}
        headers: list[tuple[str, bytes]] = []
        problem = ""
        try:
            _read(_Reader(encoded), properties, headers)
        except (ValueError, struct.error) as error:
            problem = f"its properties can't be read: {error}"
        return cls(properties, tuple(headers), problem)

    def encode(self) -> bytes:
        """What a content header carries after its sizes."""
        flags, pieces = 0, []
        for name, bit, kind in _LAYOUT:
            if kind is _TABLE:
                value = self._table() if self.headers else None
            else:
                value = self.properties.get(name)
            if value is not None:
                flags |= 1 << bit
                pieces.append(value)
        return struct.pack(">H", flags) + b"".join(pieces)

    def text(self, name: str) -> str:
        """A property that is a text; empty when it is not there."""
        return self.properties.get(name, b"\0")[1:].decode("utf-8", "replace")

    def number(self, name: str) -> int | None:
        """A property that is a number, if it is there."""
        value = self.properties.get(name)
        return None if value is None else int.from_bytes(value, "big")

    def header(self, name: str) -> Scalar:
        """A header that is a text or number; None for others, and when it is not there."""
        return next((_scalar(value) for key, value in self.headers if key == name), None)

    def amended(
        self,
        headers: Mapping[str, str | int],
        *,
        without: Container[str] = (),
        properties: Mapping[str, bytes | None] = _EMPTY,
    ) -> Envelope:
        """A copy with these headers, without those named, with these properties (None: absent)."""
        kept = [(k, v) for k, v in self.headers if k not in headers and k not in without]
        added = [(name, _encoded(value)) for name, value in headers.items()]
        changed = {**self.properties, **properties}
        return Envelope(
            {name: value for name, value in changed.items() if value is not None},
            (*kept, *added),
        )

    def _table(self) -> bytes:
        entries = b"".join(_short(name) + value for name, value in self.headers)
        return struct.pack(">I", len(entries)) + entries


def short_text(value: str) -> bytes:
    """The property for a text, cut to the 255 bytes that there is room for."""
    return _short(value.encode()[:SHORT_STRING_BYTES].decode("utf-8", "ignore"))


class WireProperties(pika.BasicProperties):  # type: ignore[misc]  # pika has no types
    """An envelope as pika sends and receives it; pika's names read what is plain in it."""

    def __init__(self, envelope: Envelope | None = None) -> None:
        self.envelope = envelope or Envelope()

    def decode(self, encoded: bytes, offset: int = 0) -> WireProperties:
        """Take what has arrived."""
        self.envelope = Envelope.read(encoded[offset:])
        return self

    def encode(self) -> list[bytes]:
        """What is to be sent."""
        return [self.envelope.encode()]

    def __getattr__(self, name: str) -> Any:
        kind = next((kind for known, _, kind in _LAYOUT if known == name), None)
        if kind is None:
            raise AttributeError(name)
        if kind is _TABLE:
            return {key: _scalar(value) for key, value in self.envelope.headers} or None
        if name not in self.envelope.properties:
            return None
        return self.envelope.text(name) if kind is _SHORT else self.envelope.number(name)


pika.spec.props[pika.BasicProperties.INDEX] = WireProperties


class _Reader:
    def __init__(self, encoded: bytes) -> None:
        self.encoded, self.position = encoded, 0

    def take(self, count: int) -> bytes:
        start, self.position = self.position, self.position + count
        if self.position > len(self.encoded):
            raise ValueError(f"they end after {len(self.encoded)} bytes")
        return self.encoded[start : self.position]

    def short(self) -> bytes:
        length = self.take(1)
        return length + self.take(length[0])

    def counted(self) -> bytes:
        length = self.take(4)
        return length + self.take(int.from_bytes(length, "big"))


def _read(reader: _Reader, properties: dict[str, bytes], headers: list[tuple[str, bytes]]) -> None:
    flags = int.from_bytes(reader.take(2), "big")
    if flags & 0b11:
        raise ValueError(f"unknown flags {flags:#06x}")
    for name, bit, kind in _LAYOUT:
        if not flags & 1 << bit:
            continue
        if kind is _SHORT:
            properties[name] = reader.short()
        elif kind is _TABLE:
            _read_table(_Reader(reader.counted()[4:]), headers)
        else:
            properties[name] = reader.take(1 if kind is _OCTET else 8)


def _read_table(reader: _Reader, headers: list[tuple[str, bytes]]) -> None:
    while reader.position < len(reader.encoded):
        name = reader.short()[1:].decode("utf-8", "surrogateescape")
        kind = reader.take(1)
        if kind in _COUNTED:
            value = reader.counted()
        elif kind in _LENGTHS:
            value = reader.take(_LENGTHS[kind])
        else:
            raise ValueError(f"header {name!r:.40} is of an unknown type {kind!r}")
        headers.append((name, kind + value))


def _scalar(value: bytes) -> Scalar:
    kind, content = value[:1], value[1:]
    if kind in _NUMBERS:
        number: int | float | bool = struct.unpack(_NUMBERS[kind], content)[0]
        return number
    if kind == b"S":
        return content[4:].decode("utf-8", "replace")
    return content[4:] if kind == b"x" else None


def _encoded(value: str | int) -> bytes:
    if isinstance(value, int):
        return b"l" + struct.pack(">q", value)
    content = value.encode("utf-8", "replace")
    return b"S" + struct.pack(">I", len(content)) + content


def _short(value: str) -> bytes:
    content = value.encode("utf-8", "surrogateescape")
    return bytes([len(content)]) + content
