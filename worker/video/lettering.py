"""Lines of text in the fonts and the order that their scripts need: measured, and drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFilter, features

from worker.errors import TransientError
from worker.video.bidi import levels, visual_order
from worker.video.faces import EMOJI_SIZE, Face, Faces

_EMBEDDINGS = re.compile("[\u202a-\u202e\u2066-\u2069]")
Columns = tuple[float, float]


class Box(NamedTuple):
    """Where ink is, counted in pixels from where a line begins on its baseline."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Run:
    """Characters that follow each other in one font and direction, from `begin` of the text on."""

    begin: int
    text: str
    face: Face
    size: int
    leftwards: bool

    def advance(self, until: int | None = None) -> float:
        """How wide the first `until` characters are, or all."""
        text = _EMBEDDINGS.sub("", self.text[:until])
        return float(self._font.getlength(text, **self._direction)) * self._scale

    def box(self, stroke: int) -> Box:
        """Its ink with an outline of that width."""
        text, face = _EMBEDDINGS.sub("", self.text), self.face
        if face.has_colours:
            edges = self._font.getbbox(text, anchor="ls", **self._direction)
            left, top, right, bottom = (edge * self._scale for edge in edges)
            return Box(left - stroke, top - stroke, right + stroke, bottom + stroke)
        return Box(*self._font.getbbox(text, anchor="ls", stroke_width=stroke, **self._direction))

    def draw(self, canvas: ImageDraw.ImageDraw, at: tuple[float, float], **style: Any) -> None:
        """Write it at that place of the baseline."""
        text = _EMBEDDINGS.sub("", self.text)
        canvas.text(at, text, font=self._font, anchor="ls", **self._direction, **style)

    def picture(self) -> Image.Image:
        """A run of pictures, in its box without an outline."""
        left, top, right, bottom = self._font.getbbox(self.text, anchor="ls", **self._direction)
        drawn = Image.new("RGBA", (round(right - left), round(bottom - top)))
        self.draw(ImageDraw.Draw(drawn), (-left, -top), embedded_color=True)
        size = (max(1, round(side * self._scale)) for side in drawn.size)
        return drawn.resize((next(size), next(size)), Image.Resampling.LANCZOS)

    @property
    def _font(self) -> Any:
        return self.face.at(EMOJI_SIZE if self.face.has_colours else self.size)

    @property
    def _scale(self) -> float:
        return self.size / EMOJI_SIZE if self.face.has_colours else 1.0

    @property
    def _direction(self) -> dict[str, Any]:
        return {"direction": "rtl"} if self.leftwards else {}


@dataclass(frozen=True, slots=True)
class Ink:
    """How a line is drawn. Pictures among the letters show their state by the halo's colour."""

    fill: str
    outline: str
    stroke: int
    halo: str


class Line:
    """A text as runs in visual order, each with its place."""

    def __init__(self, text: str, runs: list[Run]) -> None:
        self._text = text
        self._runs: list[tuple[float, Run]] = []
        self.width = 0.0
        for run in runs:
            self._runs.append((self.width, run))
            self.width += run.advance()

    def box(self, stroke: int) -> Box:
        """Its ink with an outline of that width."""
        boxes = [(x, run.box(stroke)) for x, run in self._runs]
        if not boxes:
            return Box(0.0, 0.0, 0.0, 0.0)
        return Box(
            min(x + box.left for x, box in boxes),
            min(box.top for _, box in boxes),
            max(x + box.right for x, box in boxes),
            max(box.bottom for _, box in boxes),
        )

    def columns(self, begin: int, end: int, reach: int) -> Iterator[Columns]:
        """Where the characters from `begin` to `end` stand, each piece as (left, right).

        With `reach` pixels of a space before or behind them, as letters may lean into it.
        """
        before = reach * (not self._text[:begin][-1:].strip())
        behind = reach * (not self._text[end : end + 1].strip())
        for x, run in self._runs:
            first, last = max(0, begin - run.begin), min(len(run.text), end - run.begin)
            if first < last:
                near, far = run.advance(first) - before, run.advance(last) + behind
                if run.leftwards:
                    width = run.advance()
                    near, far = width - far, width - near
                yield x + near, x + far

    def draw(self, picture: Image.Image, at: tuple[float, float], ink: Ink) -> None:
        """Write it into `picture`, beginning at that place of the baseline."""
        canvas = ImageDraw.Draw(picture)
        places = [((at[0] + x, at[1]), run) for x, run in self._runs]
        letters = [(place, run) for place, run in places if not run.face.has_colours]
        # All outlines first: none may cover the letter before.
        for place, run in letters:
            style = {"stroke_width": ink.stroke, "stroke_fill": ink.outline}
            run.draw(canvas, place, fill=ink.outline, **style)
        for place, run in letters:
            run.draw(canvas, place, fill=ink.fill)
        for place, run in places:
            if run.face.has_colours:
                _lay_picture(picture, place, run, ink)


class Lettering:
    """Lays out lines for one video."""

    def __init__(self, faces: Faces) -> None:
        self._faces = faces

    def lacking(self, text: str) -> list[str]:
        """The characters of `text` that no font of this host has, in order."""
        return self._faces.lacking(text)

    def ascent(self, size: int) -> int:
        """How far the theme's own letters reach above the baseline."""
        return self._faces.first.at(size).getmetrics()[0]

    @lru_cache(maxsize=4096)  # noqa: B019 - lives as long as its video
    def line(self, text: str, size: int, leftwards: bool = False) -> Line:
        """`text` in that size, as a line of a paragraph that runs that way.

        Raises TransientError where this host can't shape it.
        """
        faces = self._face_of_each(text)
        embedded = levels(text, leftwards)
        if (any(embedded) or set(faces) != {self._faces.first}) and not features.check("raqm"):
            raise TransientError("this text needs libfribidi0 on this host, to be shaped with")
        runs, embedding, begin = [], [], 0
        for (face, level), group in groupby(zip(faces, embedded, strict=True)):
            end = begin + len(list(group))
            runs.append(Run(begin, text[begin:end], face, size, leftwards=level % 2 == 1))
            embedding.append(level)
            begin = end
        return Line(text, [runs[index] for index in visual_order(embedding)])

    def _face_of_each(self, text: str) -> list[Face]:
        """The font of each character; spaces are in that of the word before."""
        if self._faces.first.has(text) and text.isascii():
            return [self._faces.first] * len(text)
        faces: list[Face] = []
        for token in re.split(r"(\s+)", text):
            if token.isspace():
                before = faces[-1] if faces else self._faces.first
                faces += [self._faces.first if before.has_colours else before] * len(token)
            else:
                for piece, face in self._faces.split(token):
                    faces += [face] * len(piece)
        return faces


def _lay_picture(picture: Image.Image, place: tuple[float, float], run: Run, ink: Ink) -> None:
    """Lay a run of pictures, with a halo in place of an outline."""
    left, top, _, _ = run.box(ink.stroke)
    drawn = run.picture()
    size = (drawn.width + 2 * ink.stroke, drawn.height + 2 * ink.stroke)
    shape = Image.new("L", size)
    shape.paste(drawn.getchannel("A"), (ink.stroke, ink.stroke))
    laid = Image.new("RGBA", size, ink.halo)
    laid.putalpha(shape.filter(ImageFilter.MaxFilter(2 * ink.stroke + 1)))
    laid.alpha_composite(drawn, (ink.stroke, ink.stroke))
    x, y = round(place[0] + left), round(place[1] + top)
    picture.alpha_composite(laid, (max(0, x), max(0, y)), (max(0, -x), max(0, -y)))
