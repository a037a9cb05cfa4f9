"""Where text may be broken."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.video.bidi import visual_order
from worker.video.wording import clusters, parts, reads_leftwards, visible, words, wrapped

TEXTS = st.text(
    st.characters(codec="utf-8")
    | st.sampled_from("aé \u0301\u200b\u200d\ufe0f你、「ーっทำเ้יمं्क🇩🇪👍🏽각ᄀ/"),
    max_size=80,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc", ["a", "b", "c"]),
        ("e\u0301x", ["e\u0301", "x"]),
        ("👨‍👩‍👧👍🏽❤️1️⃣", ["👨‍👩‍👧", "👍🏽", "❤️", "1️⃣"]),
        ("🇩🇪🇫🇷", ["🇩🇪", "🇫🇷"]),
        ("🏴󠁧󠁢󠁥󠁮󠁧󠁿!", ["🏴󠁧󠁢󠁥󠁮󠁧󠁿", "!"]),
        ("क्षत्रिय", ["क्ष", "त्रि", "य"]),
        ("เช้าทำไม", ["เช้า", "ทำ", "ไม"]),
        ("각", ["각"]),
    ],
)
def test_what_readers_see_as_one_is_never_broken(text: str, expected: list[str]) -> None:
    assert clusters(text) == expected


@given(TEXTS)
def test_clusters_and_words_lose_nothing(text: str) -> None:
    assert "".join(clusters(text)) == text
    found = list(words(text))
    assert "".join(text[w.begin : w.end] for w in found) == "".join(
        text.replace("\u200b", "").split()
    )
    assert [w.begin for w in found] == sorted({w.begin for w in found})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, my friend", ["Hello,", "my", "friend"]),
        ("你好，世界！", ["你", "好，", "世", "界！"]),
        ("「東京」へ行った。", ["「東", "京」", "へ", "行っ", "た。"]),
        ("データ", ["デー", "タ"]),
        ("用iPhone拍", ["用", "iPhone", "拍"]),
        ("좋은 아침", ["좋은", "아침"]),
        ("สวัสดี ครับ", ["สวัสดี", "ครับ"]),
        ("zero\u200bwidth", ["zero", "width"]),
    ],
)
def test_words_are_found_in_scripts_with_and_without_spaces(text: str, expected: list[str]) -> None:
    assert [text[w.begin : w.end] for w in words(text)] == expected


@given(TEXTS, st.integers(1, 20))
def test_rows_lose_nothing_and_break_words_only_where_they_fit_in_no_row(
    text: str, limit: int
) -> None:
    rows = wrapped(text, lambda t: len(t) <= limit)
    assert "".join("".join(rows).split()) == "".join(text.replace("\u200b", "").split())
    for row in rows:
        assert len(row) <= limit or len(clusters(row)) == 1
    found = [text[w.begin : w.end] for w in words(text)]
    if all(len(word) <= limit for word in found):
        joined = iter(found)
        for row in rows:
            rest = row
            while rest:
                word = next(joined)
                assert rest.startswith(word)
                rest = rest.removeprefix(word).lstrip(" ")


@pytest.mark.parametrize(
    ("word", "limit", "expected"),
    [
        ("https://example.com/a/path?q=1", 14, ["https://", "example.com/a/", "path?q=1"]),
        ("a/bcdefghijklmnop", 8, ["a/bcdefg", "hijklmno", "p"]),
        ("x" * 20, 8, ["x" * 8, "x" * 8, "x" * 4]),
        ("e\u0301" * 3, 1, ["e\u0301"] * 3),
    ],
)
def test_long_words_are_broken_after_punctuation_that_is_near(
    word: str, limit: int, expected: list[str]
) -> None:
    assert list(parts(word, lambda t: len(t) <= limit)) == expected


@given(TEXTS)
def test_what_is_visible_has_no_controls(text: str) -> None:
    assert not [c for c in visible(text) if unicodedata.category(c) == "Cc" and not c.isspace()]


@pytest.mark.parametrize(
    ("text", "leftwards"),
    [
        ("שלום world", True),
        ("مرحبا", True),
        ("12: שלום", True),
        ("hello שלום", False),
        ("123 !", False),
        ("", False),
    ],
)
def test_a_paragraph_runs_as_its_first_letter(text: str, leftwards: bool) -> None:
    assert reads_leftwards(text) is leftwards


@pytest.mark.parametrize(
    ("levels", "order"),
    [
        ([0, 0], [0, 1]),
        ([1, 1], [1, 0]),
        ([1, 2, 1], [2, 1, 0]),
        ([0, 1, 2, 2, 1, 0], [0, 4, 2, 3, 1, 5]),
        ([], []),
    ],
)
def test_pieces_are_turned_around_by_level(levels: list[int], order: list[int]) -> None:
    assert visual_order(levels) == order
