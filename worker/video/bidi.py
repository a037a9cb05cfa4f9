"""The order of scripts that run to the right and to the left, by FriBidi.

Pillow's own shaping needs the same library. Written to `fribidi-bidi.h` of FriBidi 1.0.
"""

from __future__ import annotations

import ctypes
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

from worker.errors import TransientError

_RIGHTWARDS, _LEFTWARDS = 0x110, 0x111
_TO_THE_LEFT = frozenset(("R", "AL", "AN", "RLE", "RLO", "RLI"))


def levels(text: str, leftwards: bool) -> list[int]:
    """Unicode's embedding level of every character in a paragraph that runs that way.

    Characters of odd level run to the left. Raises TransientError where FriBidi is missing.
    """
    if not leftwards and _TO_THE_LEFT.isdisjoint(map(unicodedata.bidirectional, text)):
        return [0] * len(text)
    library, size = _fribidi(), len(text)
    codes = (ctypes.c_uint32 * size)(*map(ord, text))
    kinds, brackets = (ctypes.c_uint32 * size)(), (ctypes.c_uint32 * size)()
    found = (ctypes.c_int8 * size)()
    base = ctypes.c_uint32(_LEFTWARDS if leftwards else _RIGHTWARDS)
    library.fribidi_get_bidi_types(codes, size, kinds)
    library.fribidi_get_bracket_types(codes, size, kinds, brackets)
    library.fribidi_get_par_embedding_levels_ex(kinds, brackets, size, ctypes.byref(base), found)
    return list(found)


def visual_order(found: Sequence[int]) -> list[int]:
    """From left to right, the indices of pieces with these levels: rule L2 of annex 9."""
    order = list(range(len(found)))
    for level in range(max(found, default=0), 0, -1):
        begin = 0
        while begin < len(order):
            end = begin
            while end < len(order) and found[order[end]] >= level:
                end += 1
            order[begin:end] = reversed(order[begin:end])
            begin = end + 1
    return order


@cache
def _fribidi() -> Any:
    try:
        return ctypes.CDLL("libfribidi.so.0")
    except OSError as error:
        raise TransientError("text from right to left needs libfribidi0 on this host") from error
