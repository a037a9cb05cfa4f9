"""From words to frames."""

from __future__ import annotations

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
from worker.video.wording import visible


def speech(seconds: float, *words: tuple[str, float]) -> Speech:
    samples = np.zeros(round(seconds * 100), dtype=np.float32)
    return Speech(samples, 100, tuple(Word(text, start) for text, start in words))


def short(text: str) -> bool:
    return len(text) <= 10


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
    rows = ("Hi there",)
    assert caption_cues(lines, short) == [
        Cue(0, None),
        Cue(frame(0.3), Page(rows, row=0, begin=0, end=2)),
        Cue(frame(0.7), Page(rows, row=0, begin=3, end=8)),
        Cue(frame(1.3), None),
    ]


def test_a_word_that_fits_in_no_row_is_shown_in_parts_each_at_its_share_of_the_time() -> None:
    lines, _ = place([("a", speech(4.0, ("my", 0.0), ("abcdefghijklmnopqrstuvwxyz", 1.0)))])
    rows, last = ("my", "abcdefghij"), ("klmnopqrst", "uvwxyz")
    assert caption_cues(lines, short) == [
        Cue(0, None),
        Cue(frame(0.3), Page(rows, row=0, begin=0, end=2)),
        Cue(frame(1.3), Page(rows, row=1, begin=0, end=10)),
        Cue(frame(1.3 + 3 * 10 / 26), Page(last, row=0, begin=0, end=10)),
        Cue(frame(1.3 + 3 * 20 / 26), Page(last, row=1, begin=0, end=6)),
        Cue(frame(4.3), None),
    ]


def test_words_without_spaces_between_them_are_shown_one_by_one() -> None:
    words = timed("你好，世界 ok", {}, 1.0)
    assert [(w.text, w.is_joined) for w in words] == [
        ("你", False),
        ("好，", True),
        ("世", True),
        ("界", True),
        ("ok", False),
    ]
    lines, _ = place([("a", Speech(np.zeros(100, dtype=np.float32), 100, words))])
    shown = [cue.shown for cue in caption_cues(lines, short) if cue.shown]
    assert {page.rows for page in shown} == {("你好，世界 ok",)}
    assert [page.rows[0][page.begin : page.end] for page in shown] == [w.text for w in words]


def test_a_line_runs_as_its_first_letter_does_on_all_its_pages() -> None:
    words = (("שלום", 0.0), ("abcdefgh", 0.2), ("ijklmnop", 0.4), ("qrst", 0.6))
    lines, _ = place([("a", speech(1.0, *words)), ("b", speech(1.0, ("ok", 0.0), ("כן", 0.5)))])
    shown = [cue.shown for cue in caption_cues(lines, short) if cue.shown]
    assert [page.leftwards for page in shown] == [True] * 4 + [False] * 2


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
    assert "".join(w.text for w in words) == "".join(visible(text).replace("\u200b", "").split())
    times = [w.start for w in words]
    assert times == sorted(times)
    assert all(0 <= t <= seconds + 1e-6 for t in times)


def test_words_without_a_time_share_the_gap() -> None:
    words = timed("one two three", {0: 0.0, 8: 1.0}, 2.0)
    assert [round(w.start, 2) for w in words] == [0.0, 0.5, 1.0]
