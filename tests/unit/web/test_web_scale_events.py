"""Scale events are read from the history once; then only what is new is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from scaler.loop.history import History
from scaler.web.scale_events import ScaleEvents

NOW = 1_700_000_000.0
DAY = 86_400.0


class Book:
    """A history with a clock, that counts what is read."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.read = 0
        self._history = History(folder, retention_s=7 * DAY)
        self.events = ScaleEvents(self._history, lambda: self.now)
        read = self._history.decisions

        def counted(*given: object, **more: object) -> list[dict[str, object]]:
            found = read(*given, **more)  # type: ignore[arg-type]
            self.read += len(found)
            return found

        self._history.decisions = counted  # type: ignore[method-assign]

    def decide(self, replicas: int | None) -> None:
        self.now += 1
        content = {"at": self.now, "replicas": replicas, "reason": "r", "action": "none"}
        self._history.record("t", self.now, str(self.now), partial(dict, content), dict)

    def seen(self, span_s: float = DAY) -> list[tuple[int | None, int | None]]:
        return [(event.before, event.after) for event in self.events.of("t", span_s)]

    def close(self) -> None:
        self._history.close()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    book = Book(tmp_path)
    yield book
    book.close()


def test_only_what_is_new_is_read(book: Book) -> None:
    for turn in range(50):
        book.decide(turn % 2)
    first = book.seen()
    assert len(first) == 49
    assert book.seen() == first
    before = book.read
    book.decide(5)
    assert book.seen() == [*first, (1, 5)]
    assert book.read - before <= 3


def test_what_has_left_the_span_is_shown_no_longer(book: Book) -> None:
    book.decide(1)
    book.decide(2)
    assert book.seen(600) == [(1, 2)]
    book.now += 590
    book.decide(3)
    assert book.seen(600) == [(1, 2), (2, 3)]
    book.now += 100
    assert book.seen(600) == [(2, 3)]
    book.now += 10_000
    assert book.seen(600) == []
    book.decide(4)
    book.decide(5)
    assert book.seen(600) == [(4, 5)]


def test_a_number_that_was_not_known_is_none(book: Book) -> None:
    for replicas in (None, None, 3, None):
        book.decide(replicas)
    assert book.seen() == [(None, 3), (3, None)]


def test_a_clock_set_back_does_not_hide_what_is_new(book: Book) -> None:
    book.decide(1)
    book.decide(2)
    assert book.seen() == [(1, 2)]
    book.now -= 3_600
    book.decide(7)
    book.decide(8)
    assert (7, 8) in book.seen()


def test_of_very_many_the_last_are_shown(book: Book) -> None:
    for turn in range(200):
        book.decide(turn)
    assert book.seen() == [(n, n + 1) for n in range(139, 199)]
