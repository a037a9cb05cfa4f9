"""Swarm's order of removal, foretold."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from scaler.orchestrators.swarm.removal_order import (
    STABLE_UP_TO,
    Slot,
    Task,
    choose,
    next_removed,
    removal_order,
    safe_to_lower,
    slots_of,
)


def slot(number: int, node: str = "a", *, running: bool = True, dead: bool = False) -> Slot:
    return Slot(number, node, running and not dead, f"t{number}", dead=dead)


def task(
    number: int, state: str, desired: str, *, at: float = 0.0, node: str = "a", name: str = ""
) -> Task:
    return Task(name or f"t{number}", number, node, state, desired, at)


def test_on_one_node_the_empty_slot_goes_first_whatever_its_number() -> None:
    slots = [slot(1, dead=True), slot(2), slot(3)]
    assert [s.number for _, s in removal_order(slots)] == [2, 3, 1]
    assert safe_to_lower(slots)


def test_the_fullest_node_outranks_an_empty_slot() -> None:
    """Three, two and two workers; an idle one has left a node with two."""
    layout = zip(range(1, 8), "aaabbcc", strict=True)
    slots = [slot(number, node, dead=number == 4) for number, node in layout]
    assert [s.number for s in next_removed(slots)] == [3]
    assert not safe_to_lower(slots)


def test_among_equally_full_nodes_the_empty_slot_goes() -> None:
    slots = [slot(1, "a", dead=True), slot(2, "b"), slot(3, "b"), slot(4, "a")]
    assert [s.number for s in next_removed(slots)] == [1]


def test_a_starting_worker_may_stand_behind_an_empty_slot() -> None:
    slots = [slot(1), slot(2, dead=True), slot(3, running=False)]
    assert [s.number for s in next_removed(slots)] == [3]
    assert not safe_to_lower(slots)


def test_slots_without_a_node_or_in_the_middle_of_a_rollout_go_before_all() -> None:
    pending = slot(2, "", running=False)
    split = replace(slot(3), split=True)
    assert next_removed([slot(1, dead=True), pending]) == [pending]
    assert next_removed([split, slot(4, dead=True)]) == [split]


def test_the_idle_on_the_fullest_node_is_asked_even_if_another_is_idle_for_longer() -> None:
    slots = [slot(1, "b"), slot(2, "a"), slot(3, "a")]
    assert choose(slots, ["t1", "t2", "t3"], 1) == ["t2"]
    assert choose(slots, ["t1"], 1) == []
    assert choose(slots, ["t1", "t2"], 2) == ["t2", "t1"]


def test_an_empty_slot_that_cannot_be_given_back_bars_no_other() -> None:
    """One has left node b (two workers) while a has three: somebody on a may still go."""
    slots = [slot(1, "a"), slot(2, "a"), slot(3, "a"), slot(4, "b", dead=True), slot(5, "b")]
    assert not safe_to_lower(slots)
    assert choose(slots, ["t5"], 1) == []
    assert choose(slots, ["t1"], 1) == ["t1"]


def test_above_the_stable_size_all_equally_full_nodes_are_emptied_together() -> None:
    slots = [slot(number, "ab"[number % 2]) for number in range(1, STABLE_UP_TO + 3)]
    idle = [s.task for s in slots]
    assert choose(slots, idle, 1) == []
    assert sorted(choose(slots, idle, 2)) == ["t1", "t2"]


def test_a_worker_that_left_leaves_a_dead_slot_and_one_told_to_go_none() -> None:
    tasks = [
        task(1, "running", "running"),
        task(2, "complete", "shutdown"),
        task(3, "running", "remove"),
        task(4, "failed", "shutdown", at=1, name="old"),
        task(4, "starting", "running", at=2),
        task(5, "failed", "shutdown"),
        task(6, "pending", "running", node=""),
    ]
    found = slots_of(tasks)
    assert [(s.number, s.running, s.dead) for s in found] == [
        (1, True, False),
        (2, False, True),
        (4, False, False),
        (5, False, True),
        (6, False, False),
    ]


def test_a_task_moved_from_a_lost_node_counts_once() -> None:
    tasks = [
        task(1, "running", "shutdown", at=1, node="lost", name="stale"),
        task(1, "running", "running", at=2, node="b"),
    ]
    assert slots_of(tasks) == [Slot(1, "b", True, "t1")]


def test_two_live_tasks_make_a_split_slot() -> None:
    tasks = [task(1, "running", "running", name="x"), task(1, "ready", "ready", name="y", at=1)]
    assert slots_of(tasks) == [Slot(1, "a", True, "y", split=True)]


fleets = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["idle", "busy", "dead"])),
    min_size=1,
    max_size=24,
)


def remove_one(slots: list[Slot], dice: random.Random) -> list[Slot]:
    """Swarm's lowering by one, written anew; ties above the stable size fall at random."""
    by_node: dict[str, list[Slot]] = {}
    for one in sorted(slots, key=lambda s: (not s.running, s.number)):
        by_node.setdefault(one.node, []).append(one)
    height = max(map(len, by_node.values()))
    tops = [stack[-1] for stack in by_node.values() if len(stack) == height]
    if len(slots) > STABLE_UP_TO:
        gone = dice.choice(tops)
    else:
        gone = max(tops, key=lambda s: (not s.running, s.number))
    return [one for one in slots if one is not gone]


@given(fleets, st.integers(1, 24), st.randoms(use_true_random=False))
def test_whoever_was_asked_leaves_in_any_order_and_nobody_else_goes(
    layout: list[tuple[str, str]], count: int, dice: random.Random
) -> None:
    slots = [slot(n, node, dead=state == "dead") for n, (node, state) in enumerate(layout, 1)]
    idle = [f"t{n}" for n, (_, state) in enumerate(layout, 1) if state == "idle"]
    dice.shuffle(idle)
    leavers = choose(slots, idle, count)
    assert len(leavers) <= count
    assert len(set(leavers)) == len(leavers)
    assert set(leavers) <= set(idle)
    staying = {one.task for one in slots if one.running} - set(leavers)
    dice.shuffle(leavers)
    for leaver in [*leavers, None]:
        if leaver:
            slots = [replace(s, running=False, dead=True) if s.task == leaver else s for s in slots]
        while safe_to_lower(slots):
            slots = remove_one(slots, dice)
        assert {one.task for one in slots if one.running} >= staying
    assert {one.task for one in slots if one.running} == staying


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 30))
def test_on_one_node_any_idle_worker_may_go(idle: list[bool], count: int) -> None:
    slots = [slot(number) for number in range(1, len(idle) + 1)]
    free = [f"t{number}" for number, yes in enumerate(idle, 1) if yes]
    assert choose(slots, free, count) == free[:count]
