"""What the history has been given and has not written yet."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from common.logs import get
from scaler.loop.history_file import Batch
from scaler.policy.memory import ADDITIONS

MOST = 10_000
"""Decisions, and orders, that are kept while the disk refuses them."""

_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)
# Of a thousand targets' memories each is written once in half a minute, of twenty at once.
_MEMORIES_AT_ONCE, _MEMORIES_SHARE = 20, 15
_DECISIONS_AT_ONCE, _DECISIONS_SHARE = 200, 2
_log = get("history")

Span = tuple[float, float]


class PendingRow:
    """A row whose content is made when it is first needed."""

    __slots__ = ("_content", "_make", "at", "identity", "target", "urgent")

    def __init__(
        self,
        target: str,
        at: float,
        make: Callable[[], Any],
        *,
        identity: str = "",
        urgent: bool = False,
    ) -> None:
        self.target = target
        self.at = at
        self.identity = identity
        self.urgent = urgent
        self._make: Callable[[], Any] | None = make
        self._content: tuple[str, str, str] = ("", "", "")

    def text(self) -> str:
        """The content as JSON, without additions."""
        return self._made()[1]

    def additions(self) -> str:
        """Of a memory, what it has of them, as JSON; "" for nothing."""
        return self._made()[2]

    def action(self) -> str:
        """Of a decision, what it does."""
        return self._made()[0]

    def _made(self) -> tuple[str, str, str]:
        make = self._make
        if make is not None:
            content = make()
            action = content.get("action", "") if isinstance(content, Mapping) else ""
            self._content = (str(action), *apart(content))
            self._make = None
        return self._content


class Taken(NamedTuple):
    """A batch with the entries that it was made of."""

    batch: Batch
    decisions: list[PendingRow]
    orders: list[PendingRow]
    memories: list[PendingRow]


class PendingRows:
    """The newest memory of each target, and the newest decisions and orders. For any thread."""

    def __init__(self, most: int = MOST) -> None:
        self.dropped = 0
        """Decisions and orders that fell out or could not be made."""
        self._most = most
        self._lock = threading.Lock()
        self._decisions: dict[tuple[str, float], PendingRow] = {}
        self._orders: dict[tuple[str, float], PendingRow] = {}
        # Written last, last in order: each gets its turn.
        self._memories: dict[str, PendingRow] = {}

    def decision(self, entry: PendingRow) -> None:
        """To be written."""
        self._add(self._decisions, entry)

    def order(self, entry: PendingRow) -> None:
        """To be written."""
        self._add(self._orders, entry)

    def memory(self, entry: PendingRow) -> None:
        """To be written in its turn, or at once where it is urgent; replaces the one before."""
        with self._lock:
            before = self._memories.get(entry.target)
            entry.urgent = entry.urgent or (before is not None and before.urgent)
            self._memories[entry.target] = entry

    def settle_memory(self, target: str) -> None:
        """A newer one has been written."""
        with self._lock:
            self._memories.pop(target, None)

    def counts(self) -> tuple[int, int]:
        """How many decisions, and orders, there are."""
        return len(self._decisions), len(self._orders)

    def take(self, *, everything: bool) -> Taken:
        """What to write now: a share of what there is, or all of it."""
        with self._lock:
            decisions = list(self._decisions.values())
            orders = list(self._orders.values())
            memories = list(self._memories.values())
        if not everything:
            most = max(_DECISIONS_AT_ONCE, len(decisions) // _DECISIONS_SHARE)
            decisions = decisions[:most]
            most = max(_MEMORIES_AT_ONCE, -(-len(memories) // _MEMORIES_SHARE))
            first = list(islice((each for each in memories if not each.urgent), most))
            memories = [each for each in memories if each.urgent] + first
        decisions, orders, memories = map(self._made, (decisions, orders, memories))
        batch = Batch(
            [(each.target, each.at, each.action(), each.text()) for each in decisions],
            [(each.target, each.at, each.text()) for each in orders],
            [(each.target, each.at, each.text()) for each in memories],
            [(each.target, each.at, each.identity) for each in memories if each.identity],
            [(each.target, each.at, each.additions()) for each in memories if each.additions()],
        )
        return Taken(batch, decisions, orders, memories)

    def written(self, taken: Taken) -> None:
        """These need not be kept any longer."""
        with self._lock:
            for kept, entries in (
                (self._decisions, taken.decisions),
                (self._orders, taken.orders),
            ):
                for each in entries:
                    if kept.get((each.target, each.at)) is each:
                        del kept[each.target, each.at]
            for each in taken.memories:
                newer = self._memories.pop(each.target, each)
                if newer is not each:
                    self._memories[each.target] = newer

    def decisions_of(self, target: str, span: Span) -> dict[float, str]:
        """By time, as JSON."""
        return self._of(self._decisions, target, span)

    def orders_of(self, target: str, span: Span) -> dict[float, str]:
        """By time, as JSON."""
        return self._of(self._orders, target, span)

    def memories(self, names: Collection[str]) -> list[PendingRow]:
        """Those of these targets, or all of them where none is named, each with a content."""
        with self._lock:
            entries = list(self._memories.values())
        return self._made(each for each in entries if not names or each.target in names)

    def _add(self, kept: dict[tuple[str, float], PendingRow], entry: PendingRow) -> None:
        with self._lock:
            kept[entry.target, entry.at] = entry
            while len(kept) > self._most:
                del kept[next(iter(kept))]
                self.dropped += 1

    def _of(
        self, kept: dict[tuple[str, float], PendingRow], target: str, span: Span
    ) -> dict[float, str]:
        with self._lock:
            entries = [
                each
                for each in kept.values()
                if each.target == target and span[0] <= each.at <= span[1]
            ]
        return {each.at: each.text() for each in self._made(entries)}

    def _made(self, entries: Iterable[PendingRow]) -> list[PendingRow]:
        """Those whose content can be made; of one that fails no other is the victim."""
        made = []
        for each in entries:
            try:
                each.text()
                each.target.encode()
            except Exception:
                _log.exception("not kept", target=each.target, at=each.at)
                self._drop(each)
            else:
                made.append(each)
        return made

    def _drop(self, entry: PendingRow) -> None:
        with self._lock:
            self.dropped += 1
            for kept in (self._decisions, self._orders):
                if kept.get((entry.target, entry.at)) is entry:
                    del kept[entry.target, entry.at]
            if self._memories.get(entry.target) is entry:
                del self._memories[entry.target]


def apart(content: Any) -> tuple[str, str]:
    """As JSON what version 0.1.0 knows of a memory, and what it does not; "" for nothing."""
    if not isinstance(content, Mapping) or ADDITIONS not in content:
        return encoded(content), ""
    known = {name: value for name, value in content.items() if name != ADDITIONS}
    return encoded(known), encoded(content[ADDITIONS])


def encoded(content: Any) -> str:
    """As JSON, without a space too many."""
    return _ENCODER.encode(content)
