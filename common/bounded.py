"""What stays within a bound, however much there is: a memory of recent values, a list of names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_NAMES_SHOWN = 10


class Recent(Generic[K, V]):
    """The values that were used last, within a number and a sum of sizes (in any one unit).

    The one that was not used for longest goes first, so that what is in use stays whatever else
    comes. Not for use from several threads at a time.
    """

    def __init__(self, most: int, *, most_size: float = float("inf")) -> None:
        self._most = most
        self._most_size = most_size
        self._kept: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self.size = 0.0
        """The sizes of what is kept, added up."""

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        """The value, which thereby is in use, or None."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, size: float = 1.0) -> None:
        """Keep a value. One that is larger than all may be together is not kept."""
        self._drop(key)
        if size > self._most_size:
            return
        self._kept[key] = value, size
        self.size += size
        while len(self._kept) > self._most or self.size > self._most_size:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: K) -> None:
        if key in self._kept:
            self.size -= self._kept.pop(key)[1]


def a_few(names: Collection[str]) -> str:
    """The first of them, and how many more there are; `(none)` where there is none."""
    shown = list(names)[:_NAMES_SHOWN]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "") if shown else "(none)"
