"""The pictures that a video is laid out of: the stage with its speakers, and the captions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw

from worker.errors import TransientError
from worker.video.faces import Faces
from worker.video.lettering import Box, Ink, Lettering, Line
from worker.video.themes import HEIGHT, WIDTH, Theme
from worker.video.timeline import Page, Stage
from worker.video.wording import reads_leftwards, visible, wrapped

FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf")
_TEXT_WIDTH = WIDTH - 120
_SAFE_WIDTH = WIDTH - 80
"""For letters with their outline and whatever leans out of its place."""
_SILENT_SIZE = 0.9
"""Listeners are drawn a little smaller, and dimmed."""
_SILENT_LIGHT = 0.8
_TITLE_SIZES = (54, 46, 38, 32, 26)
"""The first in which a title leaves room for the speakers, else the last."""
_TITLE_Y = 120
_TITLE_HEIGHT = 420
_TITLE_PAD = (28, 18)
_TITLE_PITCH = 63 / 54
"""From one row to the next, in sizes of the letters, unless these are higher."""
_TITLE_STROKE = 4


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of a caption; `top` is its place in the box."""

    text: str
    size: int
    leftwards: bool
    top: int


class Artist:
    """Draws for one theme and title. Repeated pictures are cached."""

    def __init__(self, theme: Theme, title: str, texts: Iterable[str] = ()) -> None:
        """`texts` are all that will be spoken. Raises TransientError without the theme's font."""
        self._theme = theme
        font = theme.file(theme.captions.font) if theme.captions.font else FONT
        if not font.is_file():
            raise TransientError(f"no font at {font}: install fonts-dejavu-core")
        self._title = " ".join(visible(title).split())
        self._lettering = Lettering(Faces(font, [self._title, *texts]))
        self._row_height = round(theme.captions.size * 1.4)

    def lacking(self, text: str) -> list[str]:
        """The characters of `text` that no font of this host has, in order."""
        return self._lettering.lacking(visible(text))

    def fits(self, text: str) -> bool:
        """Whether the text fits into one row."""
        return self._lettering.line(text, self._theme.captions.size).width <= _TEXT_WIDTH

    # The stage

    def backdrop(self) -> Image.Image:
        """What never changes: background, unless that is a video, and title."""
        name = self._theme.background
        if name is None or self.moving:
            empty = (0, 0, 0, 0) if self.moving else self._theme.background_colour
            picture = Image.new("RGBA", (WIDTH, HEIGHT), empty)
        else:
            picture = Image.open(self._theme.file(name)).convert("RGBA").resize((WIDTH, HEIGHT))
        if self._title:
            title = _on_plate(self._write_title())
            picture.alpha_composite(title, ((WIDTH - title.width) // 2, _TITLE_Y))
        return picture

    @property
    def moving(self) -> bool:
        """Whether the background is a video."""
        name = self._theme.background
        return name is not None and not name.lower().endswith((".png", ".jpg", ".jpeg", ".webp"))

    def stage(self, stage: Stage, backdrop: Image.Image) -> Image.Image:
        """The speakers before `backdrop`, the one who speaks in full light."""
        picture = backdrop.copy()
        floor = round(self._theme.floor * HEIGHT)
        for name, speaker in self._theme.speakers.items():
            sprite = self._sprite(
                name, name == stage.speaker and stage.is_open, name == stage.speaker
            )
            x = round(speaker.x * WIDTH - sprite.width / 2)
            x = min(max(0, x), max(0, WIDTH - sprite.width))
            picture.alpha_composite(sprite, (x, max(0, floor - sprite.height)))
        return picture

    @lru_cache(maxsize=64)  # noqa: B019 - an artist lives as long as its video
    def _sprite(self, name: str, is_open: bool, speaks: bool) -> Image.Image:
        speaker = self._theme.speakers[name]
        file = speaker.speaking if is_open and speaker.speaking else speaker.sprite
        picture = Image.open(self._theme.file(file)).convert("RGBA")
        height = round(speaker.height * (1 if speaks else _SILENT_SIZE))
        width = round(picture.width * height / picture.height)
        picture = picture.resize((min(width, WIDTH), height), Image.Resampling.LANCZOS)
        if not speaks:
            red, green, blue, alpha = picture.split()
            dim = [c.point(lambda v: round(v * _SILENT_LIGHT)) for c in (red, green, blue)]
            picture = Image.merge("RGBA", (*dim, alpha))
        return picture

    # Text

    @property
    def caption_box(self) -> tuple[int, int]:
        """Where captions lie: the top, and how high they are at most."""
        height = self._row_height * 2 + self._theme.captions.size // 2
        top = round(self._theme.captions.y * HEIGHT - height / 2)
        return max(0, min(top, HEIGHT - height)), height

    def caption(self, page: Page | None) -> Image.Image:
        """The page with the spoken word highlighted; empty for None."""
        picture = Image.new("RGBA", (WIDTH, self.caption_box[1]), (0, 0, 0, 0))
        if page is None:
            return picture
        size = self._size_for(page.rows, page.leftwards)
        top = (2 - len(page.rows)) * self._row_height // 2
        for number, text in enumerate(page.rows):
            row = _Row(text, size, page.leftwards, top + number * self._row_height)
            drawn = self._write(row, self._theme.captions.colour)
            if number == page.row:
                drawn = self._highlighted(drawn, row, page.begin, page.end)
            picture.alpha_composite(drawn)
        return picture

    @lru_cache(maxsize=16)  # noqa: B019 - as above
    def _size_for(self, rows: tuple[str, ...], leftwards: bool) -> int:
        """The theme's size, or less where letters would leave the box or run into each other."""
        size = self._theme.captions.size
        boxes = [self._lettering.line(r, size, leftwards).box(_stroke(size)) for r in rows]
        # Less a little: letters of a smaller size are not smaller to the pixel.
        above = self._baseline - 2
        below = self.caption_box[1] - self._row_height - self._baseline - 2
        wanted_and_given = [
            (max(box.right - box.left for box in boxes), _SAFE_WIDTH),
            (-boxes[0].top, above),
            (boxes[-1].bottom, below),
            *((box.bottom - under.top, self._row_height) for box, under in pairwise(boxes)),
        ]
        shares = [given / wanted for wanted, given in wanted_and_given if wanted > given]
        return max(1, int(size * min(shares, default=1.0)))

    @lru_cache(maxsize=16)  # noqa: B019 - as above
    def _write(self, row: _Row, colour: str) -> Image.Image:
        """A row in its place, as a layer of the caption's size."""
        layer = Image.new("RGBA", (WIDTH, self.caption_box[1]), (0, 0, 0, 0))
        line, (x, y) = self._place(row)
        style = self._theme.captions
        halo = style.outline if colour == style.colour else colour
        line.draw(layer, (x, y), Ink(colour, style.outline, _stroke(row.size), halo))
        return layer

    def _highlighted(self, plain: Image.Image, row: _Row, begin: int, end: int) -> Image.Image:
        """The row with the columns of one word taken from the same row in the other colour."""
        bright, drawn = self._write(row, self._theme.captions.highlight), plain.copy()
        line, (x, _) = self._place(row)
        for left, right in line.columns(begin, end, self._margin):
            edges = (max(0, round(x + left)), 0, min(WIDTH, round(x + right)), drawn.height)
            drawn.paste(bright.crop(edges), edges)
        return drawn

    def _place(self, row: _Row) -> tuple[Line, tuple[int, int]]:
        """The row laid out, and where on the layer its baseline begins."""
        line = self._lettering.line(row.text, row.size, row.leftwards)
        stroke = _stroke(row.size)
        left, _, right, _ = line.box(stroke)
        width = int(right - left) + 2 * self._margin
        return line, ((WIDTH - width) // 2 + self._margin + stroke, row.top + self._baseline)

    @property
    def _margin(self) -> int:
        return max(6, self._theme.captions.size // 6)

    @property
    def _baseline(self) -> int:
        """Of a row, from its top."""
        size = self._theme.captions.size
        return size // 8 + _stroke(size) + self._lettering.ascent(size)

    def _write_title(self) -> Image.Image:
        """The title in the largest size in which it is not too high."""
        for size in _TITLE_SIZES:
            title = self._title_in(size)
            if title.height <= _TITLE_HEIGHT:
                break
        return title

    def _title_in(self, size: int) -> Image.Image:
        leftwards, (across, down) = reads_leftwards(self._title), _TITLE_PAD

        def lined(text: str) -> tuple[Line, Box]:
            line = self._lettering.line(text, size, leftwards)
            return line, line.box(_TITLE_STROKE)

        def fits(text: str) -> bool:
            box = lined(text)[1]
            return box.right - box.left < _TEXT_WIDTH

        rows = [lined(row) for row in wrapped(self._title, fits)]
        boxes = [box for _, box in rows]
        baselines = [max(self._lettering.ascent(size) + _TITLE_STROKE, -math.floor(boxes[0].top))]
        for above, box in pairwise(boxes):
            apart = math.ceil(above.bottom - box.top) + _TITLE_STROKE
            baselines.append(baselines[-1] + max(apart, round(size * _TITLE_PITCH)))
        width = min(_TEXT_WIDTH, max(round(line.width) for line, _ in rows) + 72)
        below = math.ceil(boxes[-1].bottom)
        inked = baselines[-1] - baselines[0] + int(boxes[-1].bottom - boxes[0].top)
        height = max(inked + 2 * down, down + baselines[-1] + below + _TITLE_STROKE)
        picture = Image.new("RGBA", (width + 2 * across, height), (0, 0, 0, 0))
        style = self._theme.captions
        ink = Ink(style.colour, style.outline, _TITLE_STROKE, style.outline)
        for (line, box), baseline in zip(rows, baselines, strict=True):
            left = (width - int(box.right - box.left)) / 2 + across + _TITLE_STROKE
            line.draw(picture, (left, down + baseline), ink)
        return picture


def _stroke(size: int) -> int:
    """The outline's width for letters of that size."""
    return max(2, size // 12)


def _on_plate(text: Image.Image) -> Image.Image:
    plate = Image.new("RGBA", text.size, (0, 0, 0, 0))
    corner = min(36, text.height // 2)
    box = (0, 0, text.width - 1, text.height - 1)
    ImageDraw.Draw(plate).rounded_rectangle(box, corner, (20, 16, 36, 150))
    plate.alpha_composite(text)
    return plate
