"""The fonts of the distribution and its voice, with every script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.writing import HARD_TO_FIT, HIDDEN, SCRIPTS
from worker.errors import TransientError
from worker.video.espeak import Espeak
from worker.video.faces import Faces, missing_fonts
from worker.video.lettering import Lettering
from worker.video.pictures import FONT
from worker.video.themes import Voice
from worker.video.wording import visible

pytestmark = pytest.mark.integration


# Fonts


@pytest.mark.parametrize("name", [*SCRIPTS, *HARD_TO_FIT])
def test_every_character_has_a_font(name: str) -> None:
    text = visible((SCRIPTS | HARD_TO_FIT)[name])
    faces = Faces(FONT, [text])
    assert faces.lacking(text) == []
    for word in text.split():
        for piece, face in faces.split(word):
            assert face.has(piece), (piece, face)


def test_common_signs_stay_in_the_font_of_the_words_beside_them() -> None:
    faces = Faces(FONT, [])
    assert [piece for piece, _ in faces.split("नमस्ते!")] == ["नमस्ते!"]
    assert [piece for piece, _ in faces.split("早上好，（我）")] == ["早上好，（我）"]
    assert [piece for piece, _ in faces.split("ok😀!3")] == ["ok", "😀", "!3"]


def test_without_fonts_the_characters_and_packages_are_named(tmp_path: Path) -> None:
    faces = Faces(FONT, [], folders=[tmp_path])
    text = "a 你好 नमः 🧿 \ue000 b"
    assert faces.lacking(text) == [*"你好नमः🧿\ue000"]
    named = missing_fonts(faces.lacking(text))
    for words in (
        "fonts-noto-cjk for 你 U+4F60, 好 U+597D",
        "fonts-noto-core for न U+0928, म U+092E",
        "fonts-noto-color-emoji for 🧿 U+1F9FF",
        "a font of your own (captions.font of a theme) for \ue000 U+E000",
    ):
        assert words in named
    assert missing_fonts([chr(0x4E00 + n) for n in range(20)]).endswith("U+4E07 and 12 more")


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("folders", [(), None])
def test_what_is_not_seen_needs_no_font_and_draws_nothing(
    name: str, folders: Sequence[Path] | None
) -> None:
    hidden = HIDDEN[name]
    faces = Faces(FONT, []) if folders is None else Faces(FONT, [], folders=folders)
    for text in (f"{hidden}abc", f"a{hidden}bc", f"abc{hidden}"):
        assert faces.lacking(visible(text)) == []
        width = Lettering(faces).line(visible(text), 68).width
        assert abs(width - Lettering(faces).line("abc", 68).width) < 3  # but for kerning


def test_a_broken_font_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "NotoSansDevanagari-Bold.ttf").write_bytes(b"\0\1\0\0" + bytes(100))
    (tmp_path / "NotoSansTamil-Bold.ttf").write_bytes(FONT.read_bytes()[:500])
    (tmp_path / "NotoSansThai-Bold.ttf").symlink_to(tmp_path / "nowhere")
    assert Faces(FONT, [], folders=[tmp_path]).lacking("नaกம") == ["न", "ก", "ம"]


def test_without_the_shaping_library_only_simple_text_is_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("PIL.features.check", lambda _: False)
    lines = Lettering(Faces(FONT, []))
    assert lines.line("Grüße", 68).width > 0
    for text in ("שלום", "नमस्ते"):
        with pytest.raises(TransientError, match="libfribidi0"):
            lines.line(text, 68)


# Voices


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    return Espeak()


@pytest.mark.parametrize("name", [*SCRIPTS, *HIDDEN])
def test_no_script_makes_speech_fail(name: str, espeak: Espeak) -> None:
    text = SCRIPTS.get(name) or f"one{HIDDEN[name]} two"
    speech = espeak.speak(text, Voice())
    assert speech.seconds > 0.2
    written = "".join(word.text for word in speech.words)
    assert written == "".join(visible(text).split())
    assert 0 <= speech.words[-1].start <= speech.seconds


def test_nothing_after_a_null_is_left_unspoken(espeak: Espeak) -> None:
    without, with_null = (espeak.speak(t, Voice()).seconds for t in ("one two", "one\0two"))
    assert abs(without - with_null) < 0.2
