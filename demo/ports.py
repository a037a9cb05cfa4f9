"""Ports for programs that bind them later, or again after a stop."""

from __future__ import annotations

import random
import socket

# The kernel gives an outgoing connection any port from 32768 on, also one that a stopped part
# will want back.
_FIRST, _END = 16384, 32768
_BLOCK = 16
_claims: list[socket.socket] = []


def free_ports(count: int) -> list[int]:
    """That many loopback TCP ports, at most 16, that nobody listens on.

    No other process that asks here gets them before this one ends: it holds the UDP port of the
    first number as a lock. Raises OSError when none are left.
    """
    if count > _BLOCK:
        raise ValueError(f"count: {count} is not allowed; allowed: at most {_BLOCK}")
    blocks = list(range(_FIRST, _END, _BLOCK))
    random.shuffle(blocks)
    for first in blocks:
        ports = range(first, first + count)
        claim = _bound(socket.SOCK_DGRAM, first)
        if claim is None:
            continue
        if all(_is_free(port) for port in ports):
            _claims.append(claim)
            return list(ports)
        claim.close()
    raise OSError(f"no {count} adjacent free ports from {_FIRST} to {_END}")


def _bound(kind: socket.SocketKind, port: int) -> socket.socket | None:
    """A socket on this loopback port; None when it is taken."""
    made = socket.socket(socket.AF_INET, kind)
    try:
        made.bind(("127.0.0.1", port))
    except OSError:
        made.close()
        return None
    return made


def _is_free(port: int) -> bool:
    made = _bound(socket.SOCK_STREAM, port)
    if made is not None:
        made.close()
    return made is not None
