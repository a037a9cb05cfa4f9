"""When each thing is heard and seen: pure arithmetic from spoken lines to frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from worker.video.speech import Speech, Word
from worker.video.wording import parts, reads_leftwards

Shown = TypeVar("Shown")

FPS = 30
_BEFORE_S, _BETWEEN_S, _AFTER_S = 0.3, 0.25, 0.6
_MOUTH_S = 0.22
"""How long a mouth stays open for one word."""


@dataclass(frozen=True, slots=True)
class SpokenLine:
    """A spoken line in its place."""

    speaker: str
    speech: Speech
    start: float


@dataclass(frozen=True, slots=True)
class Page:
    """As much as is shown at once, in rows, and the place of the word that is being spoken."""

    rows: tuple[str, ...]
    row: int
    """The row of that word, and where in it the word begins and ends."""
    begin: int
    end: int
    leftwards: bool = False
    """Whether rows run from right to left."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Who speaks, and whether the mouth is open."""

    speaker: str | None = None
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Cue(Generic[Shown]):
    """Something is shown from that frame on, until the next cue."""

    frame: int
    shown: Shown


def place(spoken: Sequence[tuple[str, Speech]]) -> tuple[list[SpokenLine], float]:
    """The lines one after the other, and how long all of it takes, in seconds."""
    lines, at = [], _BEFORE_S
    for speaker, speech in spoken:
        lines.append(SpokenLine(speaker, speech, at))
        at += speech.seconds + _BETWEEN_S
    return lines, at - _BETWEEN_S + _AFTER_S


def frame(seconds: float) -> int:
    """The frame that begins nearest to that time."""
    return round(seconds * FPS)


def pages(words: Sequence[Word], fits: Callable[[str], bool], rows: int) -> list[list[list[Word]]]:
    """The words in rows that fit, in pages of that many. A row has at least one word."""
    result: list[list[list[Word]]] = []
    for word in words:
        row = result[-1][-1] if result else None
        if row is not None and fits(_written([*row, word])):
            row.append(word)
        elif result and len(result[-1]) < rows:
            result[-1].append([word])
        else:
            result.append([[word]])
    return result


def caption_cues(
    lines: Sequence[SpokenLine], fits: Callable[[str], bool], rows: int = 2
) -> list[Cue[Page | None]]:
    """A cue for every word, and for every part of one that fits in no row; None for silence."""
    cues: list[Cue[Page | None]] = [Cue(0, None)]
    for line in lines:
        words = list(_parted(line.speech, fits))
        leftwards = reads_leftwards(_written(words))
        for page in pages(words, fits, rows):
            texts = tuple(map(_written, page))
            for number, row in enumerate(page):
                for count, word in enumerate(row, start=1):
                    end = len(_written(row[:count]))
                    shown = Page(texts, number, end - len(word.text), end, leftwards)
                    cues.append(Cue(frame(line.start + word.start), shown))
        cues.append(Cue(frame(line.start + line.speech.seconds), None))
    return tidy(cues)


def _written(row: Sequence[Word]) -> str:
    return "".join(word.text if word.is_joined else f" {word.text}" for word in row).lstrip(" ")


def _parted(speech: Speech, fits: Callable[[str], bool]) -> Iterator[Word]:
    """The words, those that fit in no row in parts, each at its share of the word's time."""
    ends = [*(word.start for word in speech.words[1:]), speech.seconds]
    for word, end in zip(speech.words, ends, strict=True):
        if fits(word.text):
            yield word
            continue
        begin = 0
        for part in parts(word.text, fits):
            at = word.start + (end - word.start) * begin / len(word.text)
            yield Word(part, at, is_joined=begin > 0 or word.is_joined)
            begin += len(part)


def stage_cues(lines: Sequence[SpokenLine]) -> list[Cue[Stage]]:
    """Who speaks when; the mouth opens with every word."""
    cues = [Cue(0, Stage())]
    for line in lines:
        for begin, end in _mouths(line.speech):
            cues.append(Cue(frame(line.start + begin), Stage(line.speaker, is_open=True)))
            cues.append(Cue(frame(line.start + end), Stage(line.speaker)))
        cues.append(Cue(frame(line.start + line.speech.seconds + _BETWEEN_S / 2), Stage()))
    return tidy(cues)


def tidy(cues: Sequence[Cue[Shown]]) -> list[Cue[Shown]]:
    """In order, one cue a frame (the last counts), and none that changes nothing."""
    result: list[Cue[Shown]] = []
    for cue in cues:
        while result and result[-1].frame >= cue.frame:
            result.pop()
        if not result or result[-1].shown != cue.shown:
            result.append(cue)
    return result


def _mouths(speech: Speech) -> Iterator[tuple[float, float]]:
    starts = [word.start for word in speech.words]
    for start, following in zip(starts, [*starts[1:], speech.seconds], strict=True):
        if following > start:
            yield start, start + min(_MOUTH_S, (following - start) * 0.6)
