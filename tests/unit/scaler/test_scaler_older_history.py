"""A history that version 0.1.0 wrote is read, and what is written now that version can read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scaler.loop.controller import Controller
from scaler.policy.limits import Limit
from scaler.policy.orders import OrderKind
from scaler.policy.schedule import bounds
from scaler.policy.target import Schedule, Target
from tests.support.crew import Crew, board_of, controller_of

NAME = "video-creator"
KEPT: dict[str, Any] = json.loads(Path(__file__).with_name("history_0_1_0.json").read_text())
SCHEMA = """
CREATE TABLE decisions (
    target TEXT NOT NULL, at REAL NOT NULL, action TEXT NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (target, at)
) WITHOUT ROWID;
CREATE TABLE orders (
    target TEXT NOT NULL, at REAL NOT NULL, content TEXT NOT NULL, PRIMARY KEY (target, at)
) WITHOUT ROWID;
CREATE TABLE memories (
    target TEXT PRIMARY KEY, at REAL NOT NULL, content TEXT NOT NULL
) WITHOUT ROWID;
"""
DAY = Schedule(name="day", start="* * * * *", end="0 0 1 1 *", min_workers=3)
TARGET = Target(max_workers=5, schedules=(DAY,), max_added_per_minute=2)


@pytest.fixture
def crew() -> Crew:
    """As it was a second after the last of the kept decisions."""
    crew = Crew()
    crew.states[NAME] = {"w-0": "busy", "w-1": "idle"}
    crew.waiting[NAME] = 9
    crew.now = KEPT["memory"][0] + 1
    return crew


@pytest.fixture
def controller(crew: Crew, tmp_path: Path) -> Iterator[Controller]:
    """Started on the history that the older version left."""
    database = sqlite3.connect(tmp_path / "history.sqlite")
    database.executescript(SCHEMA)
    memory = (NAME, KEPT["memory"][0], json.dumps(KEPT["memory"][1]))
    database.execute("INSERT INTO memories VALUES (?, ?, ?)", memory)
    orders = [(NAME, each["at"], json.dumps(each)) for each in KEPT["orders"]]
    database.executemany("INSERT INTO orders VALUES (?, ?, ?)", orders)
    decisions = [(NAME, d["at"], d["action"], json.dumps(d)) for d in KEPT["decisions"]]
    database.executemany("INSERT INTO decisions VALUES (?, ?, ?, ?)", decisions)
    database.commit()
    database.close()
    controller = controller_of(crew, [TARGET], tmp_path)
    yield controller
    controller.history.close()


def test_the_pause_goes_on_and_the_number_holds(controller: Controller) -> None:
    cycle, memory = controller.latest(NAME), controller.memory(NAME)
    assert cycle is not None
    assert (cycle.decision.limit, cycle.decision.replicas) == (Limit.PAUSE, 2)
    assert memory is not None
    assert memory.order is not None
    assert (memory.order.order, memory.order.reason) == (OrderKind.PAUSE, "a deploy")


def test_its_decisions_are_shown_and_explained(controller: Controller, crew: Crew) -> None:
    board = board_of(crew, controller)
    texts = []
    for kept in KEPT["decisions"]:
        found = board.explained(TARGET, kept["at"])
        assert found is not None
        assert found.decision.reason == kept["reason"]
        assert found.decision.bound == kept["bound"]
        texts.append(found.text)
    for words in (
        "The schedule 'day' is open and sets this bound.",
        "no more may be added within a minute",
        "A person ordered this number (override to 2: a launch).",
        "Scaling is paused: a deploy.",
    ):
        assert any(words in text for text in texts), words
    assert board.chart(TARGET, "1h").events


def test_its_orders_are_the_newest_known(controller: Controller, crew: Crew) -> None:
    orders = controller.history.orders(NAME)
    assert [each["order"] for each in orders] == ["pause", "override"]


def test_what_is_written_now_has_all_that_it_read(
    controller: Controller, crew: Crew, tmp_path: Path
) -> None:
    (newest,) = controller.history.decisions(NAME, limit=1)
    assert newest["at"] == crew.now
    older = KEPT["decisions"][-1]
    assert older.keys() <= newest.keys()
    assert older["inputs"].keys() <= newest["inputs"].keys()
    assert older["fleet"].keys() == newest["fleet"].keys()
    controller.history.flush()
    with closing(sqlite3.connect(tmp_path / "history.sqlite")) as database:
        ((text,),) = database.execute("SELECT content FROM memories").fetchall()
    kept = json.loads(text)
    # It refuses a memory with a field that it does not know.
    assert kept.keys() == KEPT["memory"][1].keys()
    assert kept["pause"] == KEPT["memory"][1]["pause"]
    assert bounds(TARGET, crew.now)._asdict() == newest["bounds"]
