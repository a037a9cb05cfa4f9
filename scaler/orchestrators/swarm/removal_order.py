"""Which replica Swarm removes next, worked out from its task list. Pure.

Swarm keeps a service's tasks in numbered slots. A worker that exits 0 under the restart
condition `on-failure` leaves its slot *dead*: nothing replaces it, and it still counts as a
replica. When the count is lowered, Swarm sorts the slots (observed as running first, then by
slot number), numbers the copies on each node in that order, sorts by that number, and removes
from the end; slots without a node, or with several live tasks, are removed before all others.
So the slot to go is the last one of the fullest node, whether somebody works there or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

# Swarm's second sort is not stable above this many slots (Go's sort.Sort), so that between
# nodes equally full any may be hit.
STABLE_UP_TO = 12

_LIVE_DESIRED = frozenset({"new", "pending", "assigned", "accepted", "ready", "running"})
_ENDED = frozenset({"complete", "shutdown", "failed", "rejected", "remove", "orphaned"})


@dataclass(frozen=True, slots=True)
class Task:
    """One task as the engine lists it."""

    id: str
    slot: int
    node: str
    """Empty while no node has been found for it."""
    state: str
    desired: str
    at: float
    """Epoch seconds of its last change of state."""
    error: str = ""

    @property
    def live(self) -> bool:
        """Wanted by Swarm: it runs, or it is meant to."""
        return self.desired in _LIVE_DESIRED and self.state not in _ENDED

    @property
    def leaving(self) -> bool:
        """Told to stop by SIGTERM and perhaps still at it."""
        return self.desired == "remove"


@dataclass(frozen=True, slots=True)
class Slot:
    """One of the replicas that Swarm counts."""

    number: int
    node: str
    running: bool
    """Swarm has seen its task running."""
    task: str
    """Id of its newest task."""
    dead: bool = False
    """Its worker has left by itself; nobody is in it."""
    split: bool = False
    """Several live tasks at once, as in the middle of a roll-out."""


def slots_of(tasks: Iterable[Task]) -> list[Slot]:
    """The slots that count as replicas, by number.

    A slot whose tasks are all told to stop counts only if its newest task is one that will not
    be restarted: that is a dead slot.
    """
    by_number: dict[int, list[Task]] = {}
    for task in tasks:
        by_number.setdefault(task.slot, []).append(task)
    found = (_slot(number, group) for number, group in sorted(by_number.items()))
    return [slot for slot in found if slot is not None]


def _slot(number: int, group: Sequence[Task]) -> Slot | None:
    wanted = [task for task in group if task.desired in _LIVE_DESIRED]
    if wanted:
        newest = max(wanted, key=lambda task: task.at)
        return Slot(
            number,
            newest.node,
            any(task.state == "running" for task in wanted),
            newest.id,
            split=len(wanted) > 1,
        )
    newest = max(group, key=lambda task: task.at)
    gave_up = newest.desired == "shutdown" and newest.state in ("complete", "failed", "rejected")
    return Slot(number, newest.node, False, newest.id, dead=True) if gave_up else None


def removal_order(slots: Iterable[Slot]) -> list[tuple[int, Slot]]:
    """(rank, slot) in Swarm's order: the last goes first. Rank 0 stands for slots that go
    before all others; else it is the how-manieth copy on its node the slot is."""
    first = sorted(slots, key=lambda slot: (not slot.running, slot.number))
    copies: Counter[str] = Counter()
    ranked = []
    for slot in first:
        if slot.split or not slot.node:
            ranked.append((0, slot))
        else:
            copies[slot.node] += 1
            ranked.append((copies[slot.node], slot))
    return sorted(ranked, key=lambda pair: (pair[0] == 0, pair[0]))


def next_removed(slots: Sequence[Slot]) -> list[Slot]:
    """The slot that goes when the count is lowered by one; several when that is not certain."""
    order = removal_order(slots)
    if not order:
        return []
    rank, last = order[-1]
    if len(order) <= STABLE_UP_TO:
        return [last]
    return [slot for other, slot in order if other == rank]


def safe_to_lower(slots: Sequence[Slot]) -> bool:
    """Whether lowering the count by one can only remove a dead slot."""
    removed = next_removed(slots)
    return bool(removed) and all(slot.dead for slot in removed)


def choose(slots: Sequence[Slot], idle: Sequence[str], count: int) -> list[str]:
    """Tasks of `idle` (ids, the first is asked first) that may be asked to leave, at most `count`.

    Each is such that Swarm's order falls on an empty slot once it has left. Fewer, or none,
    where Swarm would remove somebody who is still at work.
    """
    remaining = _compacted(slots)
    chosen: list[str] = []
    while len(chosen) < count:
        step = _next_leavers(remaining, [t for t in idle if t not in chosen], count - len(chosen))
        if not step:
            break
        chosen += step
        remaining = _compacted(_emptied(remaining, step))
    return chosen


def _next_leavers(slots: Sequence[Slot], idle: Sequence[str], count: int) -> list[str]:
    """One task, or one of each of the fullest nodes where Swarm's pick is not certain."""
    for task in idle:
        if safe_to_lower(_emptied(slots, [task])):
            return [task]
    if len(slots) <= STABLE_UP_TO:
        return []
    group = _one_a_fullest_node(slots, idle)
    return group if len(group) <= count and safe_to_lower(_emptied(slots, group)) else []


def _one_a_fullest_node(slots: Sequence[Slot], idle: Sequence[str]) -> list[str]:
    copies = Counter(slot.node for slot in slots if slot.node and not slot.split)
    fullest = {node for node, number in copies.items() if number == max(copies.values())}
    filled = {slot.node for slot in slots if slot.dead}
    node_of = {slot.task: slot.node for slot in slots}
    group: dict[str, str] = {}
    for task in idle:
        node = node_of.get(task, "")
        if node in fullest - filled:
            group.setdefault(node, task)
    return list(group.values())


def _emptied(slots: Sequence[Slot], leavers: Collection[str]) -> list[Slot]:
    return [
        replace(slot, running=False, dead=True) if slot.task in leavers else slot for slot in slots
    ]


def _compacted(slots: Sequence[Slot]) -> list[Slot]:
    """What is left once every dead slot that can be lowered away is gone."""
    remaining = list(slots)
    while safe_to_lower(remaining):
        remaining.remove(next_removed(remaining)[-1])
    return remaining
