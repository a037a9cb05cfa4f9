"""Which connection makes room, and when one has been idle for too long."""

from __future__ import annotations

from common.connections import FIRST_REQUEST_S, NEXT_REQUEST_S, Connections


class Book:
    """Connections by letters, and a clock that a test moves."""

    def __init__(self, most: int) -> None:
        self.now = 0.0
        self.of: Connections[str] = Connections(most, lambda: self.now)

    def enter(self, *names: str) -> list[str | None]:
        found = []
        for name in names:
            self.now += 1
            found.append(self.of.enter(name))
        return found


def test_who_never_asked_makes_room_first_and_then_who_is_idle_longest() -> None:
    book = Book(3)
    assert book.enter("a", "b", "c") == [None, None, None]
    book.of.works("a")
    book.of.waits("a")
    assert book.enter("d", "e") == ["b", "c"]
    for name in ("d", "e"):
        book.now += 1
        book.of.works(name)
        book.of.waits(name)
    assert book.enter("f") == ["a"]
    assert len(book.of) == 3


def test_who_is_at_work_never_makes_room() -> None:
    book = Book(2)
    book.enter("a", "b")
    book.of.works("a")
    book.of.works("b")
    assert book.enter("c") == ["c"]
    book.of.waits("b")
    assert book.enter("d") == ["b"]
    book.now += 10 * NEXT_REQUEST_S
    assert book.of.take_overdue() == ["d"], "a long answer is no idleness"
    assert book.enter("e") == [None]


def test_a_request_in_pieces_wins_no_time() -> None:
    book = Book(5)
    book.enter("a")
    book.now += FIRST_REQUEST_S - 1
    book.of.waits("a")
    book.now += 2
    assert book.of.take_overdue() == ["a"]
    assert book.of.take_overdue() == []
    book.enter("b")
    book.of.works("b")
    book.of.waits("b")
    book.now += NEXT_REQUEST_S
    assert book.of.take_overdue() == []
    book.now += 1
    assert book.of.take_overdue() == ["b"]


def test_who_has_left_is_no_more() -> None:
    book = Book(1)
    book.enter("a")
    book.of.leave("a")
    book.of.leave("a")
    book.of.works("a")
    assert len(book.of) == 0
    assert book.enter("b") == [None]
