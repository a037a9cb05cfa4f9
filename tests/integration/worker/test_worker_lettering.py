"""Captions and titles as they are drawn, in the fonts of the distribution."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from moviepy import TextClip
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tests.support.waiting import until
from tests.support.worker_fleet import Fleet
from tests.support.writing import HARD_TO_FIT, SCRIPTS
from worker.video.faces import Faces
from worker.video.lettering import Lettering
from worker.video.pictures import FONT, Artist
from worker.video.speech import Speech, timed
from worker.video.themes import HEIGHT, WIDTH, Captions, Speaker, Theme
from worker.video.timeline import Page, SpokenLine, caption_cues
from worker.video.wording import visible

pytestmark = pytest.mark.integration

SAFE = 40
"""Pixels at the left and the right in which nothing may be drawn."""
PLAIN, HIGHLIGHT, OUTLINE = "#ffffff", "#ff00fe", "#000000"


def theme(**captions: object) -> Theme:
    style = Captions(colour=PLAIN, highlight=HIGHLIGHT, outline=OUTLINE)
    return Theme(
        title="Bare",
        background_colour="#26264a",
        speakers={"me": Speaker(sprite="none.png")},
        captions=style.model_copy(update=captions),
    )


@cache
def artist(text: str, title: str = "", size: int = 68) -> Artist:
    return Artist(theme(size=size), title, [text])


def pages(text: str, drawn_by: Artist) -> list[Page]:
    seconds = 300.0  # so that every word has frames of its own
    speech = Speech(np.zeros(int(seconds * 100), dtype=np.float32), 100, timed(text, {}, seconds))
    cues = caption_cues([SpokenLine("me", speech, 0.0)], drawn_by.fits)
    return [cue.shown for cue in cues if cue.shown]


def inked(picture: Image.Image) -> NDArray[np.bool_]:
    return np.asarray(picture)[..., 3] > 0


def filled(picture: Image.Image, colour: str) -> NDArray[np.bool_]:
    """Where the colour is, but for the soft edges of the letters."""
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    pixels = np.asarray(picture).astype(int)
    near: NDArray[np.bool_] = abs(pixels[..., :3] - wanted).max(axis=2) < 40
    return near & (pixels[..., 3] > 0)


def middle(mask: NDArray[np.bool_]) -> float:
    return float(np.nonzero(mask)[1].mean())


# What was right stays as it was


@pytest.mark.parametrize("text", ["Hello, my dear friend", "Über Łódź jÄger", "Доброе утро!", "Áy"])
@pytest.mark.parametrize("size", [68, 40, 120])
def test_a_row_of_latin_text_is_the_picture_that_moviepy_draws(text: str, size: int) -> None:
    text = text[: 4 * 160 // size].strip()
    clip = TextClip(
        font=str(FONT),
        text=text,
        font_size=size,
        color=PLAIN,
        stroke_color=OUTLINE,
        stroke_width=size // 12,
        margin=(size // 6, size // 8),
    )
    mask = (clip.mask.get_frame(0) * 255).astype(np.uint8)
    theirs = np.dstack([clip.get_frame(0).astype(np.uint8), mask])
    drawn_by = artist(text, size=size)
    (row,) = {page.rows for page in pages(text, drawn_by)}
    ours = np.asarray(drawn_by.caption(Page(row, row=5, begin=0, end=0)))
    # moviepy cuts letters at the bottom whose line has none that reach high.
    height, width = theirs.shape[:2]
    left, top = (WIDTH - width) // 2, round(size * 1.4) // 2
    assert len(row) == 1
    assert (ours[top : top + height - 1, left : left + width] == theirs[: height - 1]).all()


@pytest.mark.parametrize("title", ["First contact", "Ägypten & Größe", "Hi"])
def test_a_title_of_one_row_is_the_picture_that_moviepy_draws(title: str) -> None:
    width = round(ImageFont.truetype(str(FONT), 54).getlength(title)) + 72
    clip = TextClip(
        font=str(FONT),
        text=title,
        font_size=54,
        color=PLAIN,
        stroke_color=OUTLINE,
        stroke_width=4,
        margin=(28, 18),
        method="caption",
        size=(width, None),
        text_align="center",
    )
    height = clip.size[1]
    left = (WIDTH - width - 56) // 2
    drawn = np.asarray(artist("", title).backdrop())[120 : 120 + height, left : left + width + 56]
    letters = (clip.mask.get_frame(0) * 255).astype(np.uint8) == 255
    assert letters.any()
    assert (drawn[..., :3][letters] == clip.get_frame(0).astype(np.uint8)[letters]).all()
    outside = np.asarray(artist("", title).backdrop())[120 + height + 1 :]
    assert (outside == outside[-1, -1]).all()


def test_low_letters_are_whole() -> None:
    drawn_by = artist("see our moon")
    with_a_high_one = artist("see our moon h")
    low = drawn_by.caption(pages("see our moon", drawn_by)[0])
    high = with_a_high_one.caption(pages("see our moon h", with_a_high_one)[0])
    rows, others = (np.nonzero(inked(each).any(axis=1))[0] for each in (low, high))
    assert rows[-1] == others[-1]


# Nothing leaves the picture


@pytest.mark.parametrize("size", [68, 160])
@pytest.mark.parametrize("name", [*HARD_TO_FIT, *SCRIPTS])
def test_captions_stay_inside_and_say_all(name: str, size: int) -> None:
    text = (HARD_TO_FIT | SCRIPTS)[name]
    drawn_by = artist(text, size=size)
    shown = pages(text, drawn_by)
    for page in shown[:40]:
        ink = inked(drawn_by.caption(page))
        assert ink.any()
        assert not ink[:, :SAFE].any()
        assert not ink[:, -SAFE:].any()
        assert not ink[0].any()
        assert not ink[-1].any()
    spoken = "".join(page.rows[page.row][page.begin : page.end] for page in shown)
    assert spoken == "".join(visible(text).split())


@pytest.mark.parametrize("y", [0.0, 0.5, 1.0])
def test_captions_lie_within_the_height_of_the_picture(y: float) -> None:
    top, height = Artist(theme(y=y), "").caption_box
    assert 0 <= top <= HEIGHT - height


@pytest.mark.parametrize(
    "title",
    [*HARD_TO_FIT.values(), *SCRIPTS.values(), "W" * 300, "iii " * 75, "你" * 300, "a\nb\x07 \t c"],
)
def test_titles_stay_inside_and_leave_room_for_the_speakers(title: str) -> None:
    picture = np.asarray(artist("", title).backdrop()).astype(int)
    ink: NDArray[np.bool_] = abs(picture - picture[-1, -1]).max(axis=2) > 0
    rows, columns = (np.nonzero(ink.any(axis=axis))[0] for axis in (1, 0))
    assert 100 <= rows[0] <= rows[-1] <= 620
    assert 20 <= columns[0] <= columns[-1] < WIDTH - 20
    letters = filled(Image.fromarray(picture.astype(np.uint8)), PLAIN)
    places = np.nonzero(letters.any(axis=1))[0]
    if len(places):
        assert rows[0] + 8 <= places[0] <= places[-1] <= rows[-1] - 4


# The word that is spoken


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_highlight_is_on_the_spoken_word_and_each_word_has_its_own(name: str) -> None:
    text = SCRIPTS[name]
    drawn_by = artist(text)
    by_rows: dict[tuple[str, ...], list[NDArray[np.bool_]]] = {}
    for page in pages(text, drawn_by):
        drawn = drawn_by.caption(page)
        bright = filled(drawn, HIGHLIGHT)
        assert bright.any(), page
        by_rows.setdefault(page.rows, []).append(bright)
        unlit = drawn_by.caption(Page(page.rows, 9, 0, 0, page.leftwards))
        assert (inked(drawn) == inked(unlit)).all()
        assert not (bright & ~filled(unlit, PLAIN)).any() or name in ("emoji", "mixed")
    for lit in by_rows.values():
        assert not any((one & other).any() for one, other in combinations(lit, 2))


def order_of(text: str) -> list[str]:
    """The words of a one-row caption from left to right, by the middle of their highlight."""
    drawn_by = artist(text)
    places = {}
    for page in pages(text, drawn_by):
        assert len(page.rows) == 1
        word = page.rows[0][page.begin : page.end]
        places[word] = middle(filled(drawn_by.caption(page), HIGHLIGHT))
    return sorted(places, key=places.__getitem__)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("one two three", ["one", "two", "three"]),
        ("שלום עולם טוב", ["טוב", "עולם", "שלום"]),
        ("יש לי 12 ספרים", ["ספרים", "12", "לי", "יש"]),
        ("גר ב New York כאן", ["כאן", "New", "York", "ב", "גר"]),
        ("he said שלום עולם ok", ["he", "said", "עולם", "שלום", "ok"]),
        ("كتاب ١٢ من 2024", ["2024", "من", "١٢", "كتاب"]),
        ("price 5 ש״ח (טוב) ok", ["price", "5", "(טוב)", "ש״ח", "ok"]),
    ],
)
def test_words_of_both_directions_stand_in_their_order(text: str, order: list[str]) -> None:
    assert order_of(text) == order


def shaped_by_the_library(text: str, size: int, **options: str) -> NDArray[np.bool_]:
    """The letters of a whole line, by the library's own way through several directions."""
    picture = Image.new("RGBA", (WIDTH, 200), (0, 0, 0, 0))
    font = ImageFont.truetype(str(FONT), size)
    ImageDraw.Draw(picture).text((60, 120), text, PLAIN, font, anchor="ls", **options)  # type: ignore[arg-type]
    return cropped(filled(picture, PLAIN))


def cropped(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    rows, columns = (np.nonzero(mask.any(axis=axis))[0] for axis in (1, 0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@pytest.mark.parametrize(
    "text", ["مرحبا بالعالم", "السلام عليكم", "لا إله", "שלום (עולם)", "بيت 12 كبير", "abc שלום"]
)
def test_a_line_is_joined_and_ordered_as_the_shaping_library_does_it(text: str) -> None:
    drawn_by = artist(text)
    page = pages(text, drawn_by)[0]
    ours = cropped(filled(drawn_by.caption(Page(page.rows, 9, 0, 0, page.leftwards)), PLAIN))
    direction = "rtl" if page.leftwards else "ltr"
    theirs = shaped_by_the_library(text, 68, direction=direction)
    assert abs(ours.shape[1] - theirs.shape[1]) <= 2
    width = min(ours.shape[1], theirs.shape[1])
    height = min(ours.shape[0], theirs.shape[0])
    differing = (ours[:height, :width] != theirs[:height, :width]).mean()
    # Runs begin at fractions of a pixel.
    assert differing < 0.08


def test_letters_join_where_a_word_is_written_and_not_where_they_stand_alone() -> None:
    lines = Lettering(Faces(FONT, []))
    joined, alone = lines.line("بيت", 68, leftwards=True), lines.line("ب ي ت", 68, leftwards=True)
    spaces = 2 * lines.line(" ", 68).width
    assert joined.width < 0.8 * (alone.width - spaces)


# The whole way


def rendered(folder: Path, *texts: str, title: str = "Title") -> subprocess.CompletedProcess[str]:
    turns = [{"speaker": "zia", "text": text} for text in texts]
    job = {"job_id": "words", "title": title, "character_theme": "orbit", "turns": turns}
    (folder / "job.json").write_text(json.dumps(job))
    words = [sys.executable, "-m", "worker", "render", str(folder / "job.json"), "-o"]
    return subprocess.run(
        [*words, str(folder / "out.mp4")], capture_output=True, text=True, check=False
    )


def test_a_job_of_many_scripts_becomes_a_video(tmp_path: Path) -> None:
    # Short, since a voice of another language spells these letter by letter.
    done = rendered(
        tmp_path, "नमः 你 좋", "שלום W" + "w" * 42, "😀 a", title="שלום 你好 " + "W" * 42
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.mp4").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("title", "text", "words"),
    [
        ("T", "ok \ue000\ue001", ("turns.0.text", "U+E000", "U+E001", "captions.font")),
        ("T\U00050000", "ok", ("title", "U+50000", "captions.font")),
    ],
)
def test_characters_without_a_font_are_refused_by_name(
    title: str, text: str, words: Sequence[str], tmp_path: Path
) -> None:
    done = rendered(tmp_path, text, title=title)
    assert done.returncode == 2
    for word in words:
        assert word in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]


def test_a_worker_parks_such_a_job_at_once(fleet: Fleet) -> None:
    fleet.start(real=True)
    fleet.ready()
    turns = [{"speaker": "zia", "text": "ok \ue000"}]
    job = {"job_id": "boxes", "title": "T", "character_theme": "orbit", "turns": turns}
    fleet.publish(json.dumps(job).encode())
    (event,) = until(lambda: [e for e in fleet.events("w1") if e["event"] == "job failed"])
    until(lambda: fleet.status("boxes") == "error")
    assert event["outcome"] == "parked"
    assert "turns.0.text" in event["error"]
    assert "U+E000" in event["error"]
