"""Who works in each queue's fleet: of a few all at every look, of thousands in turns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from scaler.policy.observation import Worker

AT_ONCE = 2000
"""So many workers are read at every look; of more a part, so that each is read every few looks."""
_TURNS = 5


class Crews:
    """The workers of each queue as they were last told, and whose turn it is to be asked for.

    What is decided follows from signals, which are read at every look. Who is idle is looked at
    once more by the ledger before it is asked to leave, so that this may be some seconds old.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Worker, ...]] = {}
        self._turns: dict[str, None] = {}
        """Queues, the one that was asked for the longest time ago first."""

    @property
    def many(self) -> bool:
        """Whether they are asked for in turns."""
        return sum(map(len, self._known.values())) > AT_ONCE

    def due(self, queues: Collection[str]) -> Sequence[str]:
        """Whose workers to ask for now."""
        self._turns = {queue: None for queue in self._turns if queue in queues}
        self._known = {queue: self._known[queue] for queue in self._turns}
        due = [queue for queue in queues if queue not in self._turns]
        total = sum(map(len, self._known.values()))
        if total <= AT_ONCE:
            return list(queues)
        left = max(AT_ONCE, total / _TURNS)
        for queue in self._turns:
            if left <= 0:
                break
            due.append(queue)
            left -= max(1, len(self._known[queue]))
        return due

    def told(self, due: Sequence[str], workers: Mapping[str, tuple[Worker, ...]]) -> None:
        """What was answered for those that were due."""
        for queue in due:
            self._turns.pop(queue, None)
            self._turns[queue] = None
            self._known[queue] = workers.get(queue, ())

    def of(self, queue: str) -> tuple[Worker, ...] | None:
        """The workers of that queue, None when they were never told."""
        return self._known.get(queue)
