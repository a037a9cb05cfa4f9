"""From words to frames."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.video.speech import Speech, Word, timed
from worker.video.timeline import (
    Cue,
    Page,
    Stage,
    caption_cues,
    frame,
    pages,
    place,
    stage_cues,
    tidy,
)


def speech(seconds: float, *words: tuple[str, float]) -> Speech:
    samples = np.zeros(round(seconds * 100), dtype=np.float32)
    return Speech(samples, 100, tuple(Word(text, start) for text, start in words))


def short(words: Sequence[str]) -> bool:
    return len(" ".join(words)) <= 10


def test_lines_follow_each_other_with_a_pause() -> None:
    lines, seconds = place([("a", speech(2.0)), ("b", speech(1.0))])
    assert [(line.speaker, round(line.start, 2)) for line in lines] == [("a", 0.3), ("b", 2.55)]
    assert round(seconds, 2) == 4.15


def test_words_fill_rows_and_rows_fill_pages() -> None:
    words = [Word(text, 0.0) for text in ["one", "two", "three", "four", "incomprehensibilities"]]
    texts = [[[w.text for w in row] for row in page] for page in pages(words, short, 2)]
    assert texts == [[["one", "two"], ["three four"[:5], "four"]], [["incomprehensibilities"]]]


def test_every_word_is_shown_highlighted_in_its_time() -> None:
    lines, _ = place([("a", speech(1.0, ("Hi", 0.0), ("there", 0.4)))])
    rows = (("Hi", "there"),)
    assert caption_cues(lines, short) == [
        Cue(0, None),
        Cue(frame(0.3), Page(rows, 0)),
        Cue(frame(0.7), Page(rows, 1)),
        Cue(frame(1.3), None),
    ]


def test_the_mouth_opens_with_every_word_and_closes_before_the_next() -> None:
    lines, _ = place([("a", speech(1.0, ("Hi", 0.0), ("there", 0.4)))])
    cues = stage_cues(lines)
    assert [cue.shown.is_open for cue in cues] == [False, True, False, True, False, False]
    assert cues[-1].shown == Stage()
    assert {cue.shown.speaker for cue in cues} == {None, "a"}


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3))))
def test_tidy_cues_rise_and_change(raw: list[tuple[int, int]]) -> None:
    cues = tidy([Cue(at, shown) for at, shown in sorted(raw, key=lambda c: c[0])])
    for one, following in pairwise(cues):
        assert one.frame < following.frame
        assert one.shown != following.shown


@given(
    st.text(max_size=60),
    st.dictionaries(st.integers(0, 60), st.floats(0, 100), max_size=8),
    st.floats(0.1, 50),
)
def test_word_times_never_go_back_or_beyond_the_end(
    text: str, starts: dict[int, float], seconds: float
) -> None:
    words = timed(text, starts, seconds)
    assert [w.text for w in words] == text.split()
    times = [w.start for w in words]
    assert times == sorted(times)
    assert all(0 <= t <= seconds + 1e-6 for t in times)


def test_words_without_a_time_share_the_gap() -> None:
    words = timed("one two three", {0: 0.0, 8: 1.0}, 2.0)
    assert [round(w.start, 2) for w in words] == [0.0, 0.5, 1.0]
