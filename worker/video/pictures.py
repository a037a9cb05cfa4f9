"""The pictures that a video is laid out of: the stage with its speakers, and the captions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from moviepy import TextClip
from PIL import Image, ImageDraw, ImageFont

from worker.errors import TransientError
from worker.video.themes import HEIGHT, WIDTH, Theme
from worker.video.timeline import Page, Stage

FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf")
_TEXT_WIDTH = WIDTH - 120
_SILENT_SIZE = 0.9
"""Listeners are drawn a little smaller, and dimmed."""
_SILENT_LIGHT = 0.8
_TITLE_SIZE = 54
_TITLE_Y = 120


class Artist:
    """Draws for one theme and title. Repeated pictures are cached."""

    def __init__(self, theme: Theme, title: str) -> None:
        """Raises TransientError when this host lacks the font."""
        self._theme = theme
        self._font = theme.file(theme.captions.font) if theme.captions.font else FONT
        if not self._font.is_file():
            raise TransientError(f"no font at {self._font}: install fonts-dejavu-core")
        self._type = ImageFont.truetype(str(self._font), theme.captions.size)
        self._title = title.strip()
        self._row_height = round(theme.captions.size * 1.4)

    def fits(self, words: Sequence[str]) -> bool:
        """Whether the words fit into one row."""
        return self._type.getlength(" ".join(words)) <= _TEXT_WIDTH

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
        return round(self._theme.captions.y * HEIGHT - height / 2), height

    def caption(self, page: Page | None) -> Image.Image:
        """The page with the spoken word highlighted; empty for None."""
        picture = Image.new("RGBA", (WIDTH, self.caption_box[1]), (0, 0, 0, 0))
        if page is None:
            return picture
        before, top = 0, (2 - len(page.rows)) * self._row_height // 2
        for row in page.rows:
            spoken = page.spoken - before
            self._lay_row(picture, row, spoken if 0 <= spoken < len(row) else None, top)
            before += len(row)
            top += self._row_height
        return picture

    def _lay_row(
        self, picture: Image.Image, row: Sequence[str], spoken: int | None, top: int
    ) -> None:
        style, text = self._theme.captions, " ".join(row)
        plain = self._write(text, style.colour)
        left = (WIDTH - plain.width) // 2
        picture.alpha_composite(plain, (max(0, left), top), (max(0, -left), 0))
        if spoken is None:
            return
        # The same row in the other colour, of which only the spoken word's columns are laid over.
        bright = self._write(text, style.highlight)
        margin = self._margin
        begin = margin + self._type.getlength(" ".join([*row[:spoken], ""])) if spoken else 0.0
        end = margin + self._type.getlength(" ".join(row[: spoken + 1])) + margin / 2
        edge = round(begin - margin / 2) if spoken else 0
        word = bright.crop((edge, 0, min(round(end), bright.width), bright.height))
        picture.paste(word, (max(0, left) + max(0, edge + min(0, left)), top))

    @property
    def _margin(self) -> int:
        return max(6, self._theme.captions.size // 6)

    @lru_cache(maxsize=16)  # noqa: B019 - as above
    def _write(self, text: str, colour: str) -> Image.Image:
        size = self._theme.captions.size
        clip = TextClip(
            font=str(self._font),
            text=text,
            font_size=size,
            color=colour,
            stroke_color=self._theme.captions.outline,
            stroke_width=max(2, size // 12),
            # Letters that reach below the line, and their outline, need the room.
            margin=(self._margin, size // 8),
        )
        return _picture(clip)

    def _write_title(self) -> Image.Image:
        width = ImageFont.truetype(str(self._font), _TITLE_SIZE).getlength(self._title)
        title_width = min(_TEXT_WIDTH, round(width) + 72)
        clip = TextClip(
            font=str(self._font),
            text=self._title,
            font_size=_TITLE_SIZE,
            color=self._theme.captions.colour,
            stroke_color=self._theme.captions.outline,
            stroke_width=4,
            margin=(28, 18),
            method="caption",
            size=(title_width, None),
            text_align="center",
        )
        return _picture(clip)


def _picture(clip: Any) -> Image.Image:
    colours = clip.get_frame(0).astype(np.uint8)
    alpha = (clip.mask.get_frame(0) * 255).astype(np.uint8)
    return Image.fromarray(np.dstack([colours, alpha]), "RGBA")


def _on_plate(text: Image.Image) -> Image.Image:
    plate = Image.new("RGBA", text.size, (0, 0, 0, 0))
    corner = min(36, text.height // 2)
    box = (0, 0, text.width - 1, text.height - 1)
    ImageDraw.Draw(plate).rounded_rectangle(box, corner, (20, 16, 36, 150))
    plate.alpha_composite(text)
    return plate
