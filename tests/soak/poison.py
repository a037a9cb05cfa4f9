"""Messages that no worker should stumble over, by family.

A family makes body and properties from a whole job, of which it spoils one or the other. The job's
id stays readable in every body, so that it is known again wherever it ends.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping
from typing import Any

import pika

Spoilt = tuple[bytes, Any]
Family = Callable[[bytes, str, random.Random], Spoilt]
_PERSISTENT = pika.DeliveryMode.Persistent.value


class RawHeaders(pika.BasicProperties):  # type: ignore[misc] # pika is not typed
    """Properties with headers that pika would not write: the table's bytes as they are."""

    def __init__(self, table: bytes) -> None:
        super().__init__(delivery_mode=_PERSISTENT)
        self._table = table

    def encode(self) -> list[bytes]:
        """As pika.spec.BasicProperties: flags, headers, delivery mode."""
        flags = self.FLAG_HEADERS | self.FLAG_DELIVERY_MODE
        size = struct.pack(">I", len(self._table))
        return [struct.pack(">H", flags), size, self._table, struct.pack("B", _PERSISTENT)]


def properties(**fields: Any) -> Any:
    """Properties of a persistent message."""
    return pika.BasicProperties(delivery_mode=_PERSISTENT, **fields)


def broken_json(good: bytes, _job_id: str, rng: random.Random) -> Spoilt:
    """Cut off somewhere."""
    return good[: rng.randrange(40, len(good))], properties()


def no_object(_good: bytes, job_id: str, _rng: random.Random) -> Spoilt:
    """JSON, but only a string."""
    return f'"{job_id}"'.encode(), properties()


def deep_body(good: bytes, _job_id: str, rng: random.Random) -> Spoilt:
    """Nested far beyond any parser's limit, or just below Python's."""
    depth = rng.choice([50_000, rng.randrange(900, 1_000), rng.randrange(300, 500)])
    place = rng.choice([b'"title"', b'"other"'])
    return b"{%s: %s%s, %s" % (place, b"[" * depth, b"]" * depth, good[1:]), properties()


def deep_history(good: bytes, _job_id: str, rng: random.Random) -> Spoilt:
    """Our own header, nested as deep."""
    depth = rng.choice([50_000, rng.randrange(900, 1_000)])
    history = "[" * depth + ("]" * depth if rng.random() < 0.5 else "")
    return good, properties(headers={"x-history": history, "x-attempt": 1})


def deep_headers(good: bytes, _job_id: str, rng: random.Random) -> Spoilt:
    """A list in a list in a list …, in AMQP's own encoding."""
    value = b""
    for _ in range(rng.choice([20_000, 5_000, 1_000, 400])):
        value = b"A" + struct.pack(">I", len(value)) + value
    return good, RawHeaders(b"\x06x-deep" + value)


def odd_timestamp(good: bytes, _job_id: str, rng: random.Random) -> Spoilt:
    """Unset, in milliseconds, or before 1970, as 64 bits without a sign."""
    return good, properties(timestamp=rng.choice([2**64 - 1, 1_790_000_000_000, 2**64 - 86_400]))


def odd_headers(good: bytes, _job_id: str, rng: random.Random) -> Spoilt:
    """Our own headers with what we would never write."""
    values = rng.choice(
        [
            {"x-attempt": 2**62, "x-deferred": -1},
            {"x-attempt": "many", "x-history": {"a": [1, 2]}},
            {"timestamp_in_ms": -(2**63), "x-outcome": b"\xff\xfe"},
            {"CC": ["nowhere"], "BCC": [], "x-history": "[[1], {}, null]"},
        ]
    )
    return good, properties(headers=values)


def large_headers(good: bytes, _job_id: str, rng: random.Random) -> Spoilt:
    """Nearly a frame full, in one or in a thousand."""
    many = rng.random() < 0.5
    pairs = {f"x-{n:03d}": "y" * 110 for n in range(1_000)} if many else {"x-big": "y" * 120_000}
    return good, properties(headers=pairs)


def long_message_id(good: bytes, job_id: str, rng: random.Random) -> Spoilt:
    """As long as a short string can be, with a job id as long as it may be."""
    letter = rng.choice(["i", "ü"])
    long_id = job_id.encode() + b"-" + b"x" * (127 - len(job_id))
    return good.replace(job_id.encode(), long_id), properties(message_id=letter * (255 // 2))


def invalid_utf8(good: bytes, _job_id: str, rng: random.Random) -> Spoilt:
    """Bytes that are no text, in the body or in a header."""
    if rng.random() < 0.5:
        return good.replace(b"Hello.", b"\xff\xfe\x80"), properties()
    return good, RawHeaders(b"\x09x-history" + b"S" + struct.pack(">I", 2) + b"\xff\x80")


def large_body(good: bytes, _job_id: str, _rng: random.Random) -> Spoilt:
    """More than a job may have."""
    return good.replace(b"Hello.", b"a" * 300_000), properties()


FAMILIES: Mapping[str, Family] = {
    each.__name__: each
    for each in (
        broken_json,
        no_object,
        deep_body,
        deep_history,
        deep_headers,
        odd_timestamp,
        odd_headers,
        large_headers,
        long_message_id,
        invalid_utf8,
        large_body,
    )
}
"""Every family, by name."""
