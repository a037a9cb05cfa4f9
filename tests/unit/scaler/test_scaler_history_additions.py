"""What version 0.1.0 does not know of a memory is kept beside it, and comes back with it."""

from __future__ import annotations

import json
import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from scaler.loop.history import History
from scaler.loop.history_file import FILE
from scaler.loop.history_retention import deletion
from scaler.policy.decision import Decision
from scaler.policy.memory import ADDITIONS, Memory, marks
from scaler.policy.target import Target
from scaler.policy.usual import NOTHING
from tests.support.burst_series import decided

BEGIN = 1_700_000_000.0
NAME = "video"
OURS, OTHERS = "swarm shop_video video-queue /", "swarm shop_video audio-queue /"
TARGET = Target(name=NAME, service=NAME, max_workers=40)
# Odd ones, so that no moment of the series is round.
LENGTH, RESTARTS = 2400, (601, 1187, 2003)
KEPT: dict[str, Any] = json.loads(Path(__file__).with_name("history_0_1_0.json").read_text())


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path, retention_s=7 * 86_400)
    yield history
    history.close()


@cache
def unbroken() -> tuple[list[Decision], list[Memory]]:
    return decided(Memory(), TARGET, BEGIN, range(LENGTH))


def newest() -> Memory:
    """After a series in which bursts come back, and are not taken to last."""
    memory = unbroken()[1][-1]
    assert memory.usual.demand.returns >= 2.0
    assert memory.usual.demand.persistence < 0.9
    return memory


def keep(history: History, memory: Memory, identity: str = "") -> None:
    assert memory.at is not None
    history.record(NAME, memory.at, "stay", dict, memory.to_json, identity=identity)


def kept(history: History, identity: str = "") -> Memory:
    found = history.memory(NAME, identity)
    assert found is not None
    return Memory.from_json(found.content)


def execute(folder: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """As another program does it."""
    with closing(sqlite3.connect(folder / FILE)) as database, database:
        return database.execute(statement, values).fetchall()


def older_version_goes_on(folder: Path, at: float) -> None:
    """0.1.0 writes the names that it knows, into the one table."""
    content = dict.fromkeys(KEPT["memory"][1]) | {"at": at, "target": 5}
    row = (NAME, at, json.dumps(content))
    execute(folder, "INSERT OR REPLACE INTO memories VALUES (?, ?, ?)", *row)


@pytest.mark.parametrize("ordered", [False, True])
def test_it_is_kept_to_the_last_digit_beside_what_0_1_0_reads(
    history: History, tmp_path: Path, ordered: bool
) -> None:
    memory = newest()
    if ordered:
        history.order(NAME, memory.at or 0.0, {"order": "resume"}, memory.to_json())
    else:
        keep(history, memory)
        assert kept(history) == memory, "before it is written"
        history.flush()
    assert kept(history) == memory
    ((text,),) = execute(tmp_path, "SELECT content FROM memories")
    assert json.loads(text).keys() == KEPT["memory"][1].keys()
    ((text,),) = execute(tmp_path, "SELECT content FROM additions")
    assert json.loads(text).keys() == {name for name, mark in marks().items() if mark.added}


def test_a_restart_in_the_middle_of_a_series_changes_no_decision(tmp_path: Path) -> None:
    decisions, memories = unbroken()
    assert newest().usual.demand.returns > 6.0
    for restart in RESTARTS:
        before = History(tmp_path, retention_s=7 * 86_400)
        keep(before, memories[restart - 1])
        before.close()
        again = History(tmp_path, retention_s=7 * 86_400)
        running = decisions[restart - 1].replicas or 0
        seconds = range(restart, LENGTH)
        assert decided(kept(again), TARGET, BEGIN, seconds, running) == (
            decisions[restart:],
            memories[restart:],
        )
        again.close()


def test_what_is_usual_changes_the_decisions_of_the_series() -> None:
    """So that its loss would have been noticed."""
    restart = RESTARTS[-1]
    decisions, memories = unbroken()
    forgetful = memories[restart - 1]._replace(usual=NOTHING)
    found, _ = decided(forgetful, TARGET, BEGIN, range(restart, LENGTH))
    assert [each.replicas for each in found] != [each.replicas for each in decisions[restart:]]


def test_it_outlives_an_older_version_that_ran_meanwhile(history: History, tmp_path: Path) -> None:
    memory = newest()
    assert memory.at is not None
    keep(history, memory, OURS)
    history.flush()
    older_version_goes_on(tmp_path, memory.at + 900)
    for identity in ("", OURS):
        found = kept(history, identity)
        assert (found.at, found.target, found.usual) == (memory.at + 900, 5, memory.usual)
    assert kept(history, OTHERS).usual == NOTHING, "that was another queue's"


def test_a_name_that_stands_for_another_queue_begins_anew(history: History) -> None:
    memory = newest()
    keep(history, memory, OTHERS)
    history.flush()
    assert history.memory(NAME, OURS) is None
    keep(history, memory._replace(usual=NOTHING), OURS)
    history.flush()
    assert kept(history, OURS).usual == NOTHING


def test_a_memory_of_an_older_version_begins_at_nothing_known(
    history: History, tmp_path: Path
) -> None:
    older_version_goes_on(tmp_path, BEGIN)
    assert (kept(history).target, kept(history).usual) == (5, NOTHING)


@pytest.mark.parametrize("text", ["no JSON", "[" * 100_000, "[1]", '{"usual": {"demand": 1}}', "7"])
def test_damaged_additions_cost_themselves_alone(
    history: History, tmp_path: Path, text: str
) -> None:
    memory = newest()
    keep(history, memory)
    history.flush()
    execute(tmp_path, "UPDATE additions SET content = ?", text)
    assert kept(history) == memory._replace(usual=NOTHING)
    assert history.problem is None


def test_a_file_without_the_table_costs_no_memory(history: History, tmp_path: Path) -> None:
    """As on a full disk, where it could not be added."""
    memory = newest()
    keep(history, memory)
    history.flush()
    execute(tmp_path, "DROP TABLE additions")
    assert kept(history) == memory._replace(usual=NOTHING)


def test_additions_go_with_their_memory(history: History, tmp_path: Path) -> None:
    memory = newest()
    assert memory.at is not None
    keep(history, memory)
    history.order("another", memory.at, {}, memory.to_json())
    history.flush()
    execute(tmp_path, "DELETE FROM memories WHERE target = ?", NAME)
    for _ in deletion(history._file, BEGIN, 86_400.0, lambda: history._writing):
        pass
    assert execute(tmp_path, "SELECT target FROM additions") == [("another",)]


def test_with_it_a_memory_stays_small(history: History) -> None:
    memory = newest()
    # Full: a value for each sixteenth of the longer lag.
    assert len(memory.usual.demand.past) >= 16
    written = json.dumps(memory.to_json())
    assert len(written) < 64 * 1024
    assert ADDITIONS in written
    tracemalloc.start()
    try:
        again = Memory.from_json(json.loads(written))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert again == memory
    assert taken < 64 * 1024


@pytest.mark.parametrize("by", [-86_400.0, -30.0, 30.0, 86_400.0])
def test_a_clock_that_is_stepped_moves_it(by: float) -> None:
    memory = newest()
    last, moved = memory.usual, memory.shifted(by).usual
    for before, after in ((last.demand, moved.demand), (last.rate, moved.rate)):
        assert after.at == before.at + by
        assert after.past == tuple((at + by, value) for at, value in before.past)
        assert after.turned_at == before.turned_at + by
        assert after._replace(at=before.at, turned_at=before.turned_at, past=before.past) == before
    assert moved.busy == last.busy._replace(at=last.busy.at + by)


def test_a_series_goes_on_by_a_clock_that_was_set() -> None:
    memory, seconds = newest(), range(LENGTH, LENGTH + 600)
    moved, _ = decided(memory.shifted(-5000.0), TARGET, BEGIN - 5000.0, seconds, 10)
    expected, _ = decided(memory, TARGET, BEGIN, seconds, 10)
    assert [each.replicas for each in moved] == [each.replicas for each in expected]


def test_a_clock_that_runs_back_leaves_it_as_long_ago_as_it_was() -> None:
    memory = newest()
    assert memory.at is not None
    found = memory.as_of(memory.at - 5000.0).usual
    assert found == memory.shifted(-5000.0).usual
