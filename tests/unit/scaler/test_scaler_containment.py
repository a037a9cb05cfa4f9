"""What fails is counted, said once, and over when it works again."""

from __future__ import annotations

import pytest

from scaler.loop.containment import Containment, LoopPart
from tests.support.log_lines import capture_logs


def fail(contained: Containment, part: LoopPart, about: str, words: str = "oops") -> None:
    with contained.of(part, about):
        raise ZeroDivisionError(words)


@pytest.mark.parametrize("part", list(LoopPart))
def test_whatever_is_raised_ends_there(part: LoopPart) -> None:
    contained = Containment()
    fail(contained, part, "one")
    assert contained.failures()[part] == 1
    assert contained.failing()[part] == 1
    assert contained.sentences() == [f"{part} one: ZeroDivisionError: oops"]


def test_a_failure_that_lasts_is_counted_each_time_and_logged_once() -> None:
    contained = Containment()
    with capture_logs() as lines:
        for _ in range(5):
            fail(contained, LoopPart.LISTENER, "reload")
        with contained.of(LoopPart.LISTENER, "reload"):
            pass
        with contained.of(LoopPart.LISTENER, "reload"):
            pass
    assert [line["event"] for line in lines] == ["failed", "works again"]
    assert contained.failures()[LoopPart.LISTENER] == 5
    assert not contained.sentences()


def test_one_that_works_says_nothing_of_another() -> None:
    contained = Containment()
    fail(contained, LoopPart.TARGET, "a")
    fail(contained, LoopPart.TARGET, "b")
    contained.works(LoopPart.TARGET, "a")
    assert contained.failing()[LoopPart.TARGET] == 1
    contained.forget(LoopPart.TARGET, {"c"})
    assert contained.failing()[LoopPart.TARGET] == 0


def test_a_sentence_is_one_line_of_bounded_length() -> None:
    contained = Containment()
    fail(contained, LoopPart.HISTORY, "", "x\ny" * 10_000)
    (said,) = contained.sentences()
    assert "\n" not in said
    assert len(said) < 400


def test_what_is_to_end_the_program_does() -> None:
    with pytest.raises(KeyboardInterrupt), Containment().of(LoopPart.TARGET):
        raise KeyboardInterrupt
