"""Voices: text in, sound and the time of every word out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from worker.video.wording import Found, visible, words

Samples = NDArray[np.float32]
"""Mono sound, -1..1."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a caption, and when it begins, in seconds from its line's beginning."""

    text: str
    start: float
    is_joined: bool = False
    """Whether there is no space before it."""


@dataclass(frozen=True, slots=True)
class Speech:
    """A spoken line."""

    samples: Samples
    rate: int
    words: tuple[Word, ...]

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate


class Speaking(Protocol):
    """A provider of voices."""

    def speak(self, text: str, voice: Any) -> Speech:
        """`text` in that voice. Raises TransientError or PermanentError."""


def timed(text: str, starts: Mapping[int, float], seconds: float) -> tuple[Word, ...]:
    """The words of `text` with their beginnings.

    `starts` maps a character's index to the time at which it is spoken, for some characters. A
    word takes the first time within it; words without any share the gap by their length.
    """
    found = [word for word in words(text) if visible(text[word.begin : word.end])]
    times: list[float | None] = []
    last = 0.0
    for begin, end, _ in found:
        inside = [at for index, at in starts.items() if begin <= index < end]
        if inside:
            last = max(last, min(*inside, seconds))
        times.append(last if inside else None)
    return tuple(
        Word(visible(text[begin:end]), at, is_joined)
        for (begin, end, is_joined), at in zip(found, _filled(times, found, seconds), strict=True)
    )


def _filled(times: list[float | None], spans: Sequence[Found], seconds: float) -> list[float]:
    result: list[float] = []
    for index, at in enumerate(times):
        if at is not None:
            result.append(at)
        elif index == 0:
            result.append(0.0)
        else:
            upcoming = next((i for i in range(index, len(times)) if times[i] is not None), None)
            end = seconds if upcoming is None else float(times[upcoming] or 0.0)
            until = spans[upcoming][0] if upcoming is not None else spans[-1][1]
            begin = spans[index - 1][0]
            share = (spans[index][0] - begin) / max(1, until - begin)
            result.append(result[-1] + (end - result[-1]) * share)
    return result
