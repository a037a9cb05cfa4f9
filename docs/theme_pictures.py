"""Draws the pictures of the shipped themes, for `make generate`. A test compares their pixels.

Everything is drawn at three times its size and then made smaller, which smooths the edges.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

THEMES = Path(__file__).resolve().parent.parent / "worker/themes"
_SCALE = 3
_SPRITE = (480, 640)
_INK = "#2b2238"

Box = tuple[float, float, float, float]
Points = Sequence[tuple[float, float]]


class Pen:
    """Draws with final coordinates on a picture that is larger."""

    def __init__(self, size: tuple[int, int], colour: str | None = None) -> None:
        big = (size[0] * _SCALE, size[1] * _SCALE)
        self.image = Image.new("RGBA", big, colour or (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.image)
        self._size = size

    def oval(self, box: Box, fill: str, line: float = 5, ink: str = _INK) -> None:
        self._draw.ellipse(self._box(box), fill, ink if line else None, round(line * _SCALE))

    def plate(self, box: Box, radius: float, fill: str, line: float = 5, ink: str = _INK) -> None:
        self._draw.rounded_rectangle(
            self._box(box), radius * _SCALE, fill, ink if line else None, round(line * _SCALE)
        )

    def shape(self, points: Points, fill: str, line: float = 5, ink: str = _INK) -> None:
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        self._draw.polygon(scaled, fill)
        if line:
            width = round(line * _SCALE)
            self._draw.line([*scaled, scaled[0], scaled[1]], ink, width, joint="curve")

    def line(self, points: Points, width: float, ink: str = _INK) -> None:
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        self._draw.line(scaled, ink, round(width * _SCALE), joint="curve")
        r = width * _SCALE / 2
        for x, y in (scaled[0], scaled[-1]):
            self._draw.ellipse((x - r, y - r, x + r, y + r), ink)

    def arc(self, box: Box, begin: float, end: float, width: float, ink: str = _INK) -> None:
        self._draw.arc(self._box(box), begin, end, ink, round(width * _SCALE))

    def done(self) -> Image.Image:
        return self.image.resize(self._size, Image.Resampling.LANCZOS)

    @staticmethod
    def _box(box: Box) -> Box:
        return (box[0] * _SCALE, box[1] * _SCALE, box[2] * _SCALE, box[3] * _SCALE)


def _eyes(pen: Pen, y: float, gap: float, iris: str, size: float = 27) -> None:
    for x in (240 - gap, 240 + gap):
        pen.oval((x - size, y - size * 1.25, x + size, y + size * 1.25), "#ffffff", 4)
        r = size * 0.62
        pen.oval((x - r, y - r + 4, x + r, y + r + 4), iris, 0)
        pen.oval((x - r * 0.55, y - r * 0.55 + 4, x + r * 0.55, y + r * 0.55 + 4), "#17121f", 0)
        pen.oval((x - r * 0.5, y - r * 0.75, x + r * 0.1, y - r * 0.15), "#ffffff", 0)


def _mouth(pen: Pen, y: float, width: float, *, is_open: bool) -> None:
    if is_open:
        pen.oval((240 - width * 0.62, y - 8, 240 + width * 0.62, y + width * 0.95), "#7c1f35", 5)
        pen.oval(
            (240 - width * 0.36, y + width * 0.42, 240 + width * 0.36, y + width * 0.86),
            "#f0788c",
            0,
        )
    else:
        pen.arc((240 - width, y - 34, 240 + width, y + 26), 25, 155, 6)


def rabbit(*, is_open: bool) -> Image.Image:
    """Ruby, a rabbit in a red scarf."""
    pen, fur, light = Pen(_SPRITE), "#f3ece4", "#ffffff"
    for side in (-1, 1):
        x = 240 + side * 62
        pen.oval((x - 40, 12, x + 40, 260), fur)
        pen.oval((x - 19, 44, x + 19, 220), "#f5b5c0", 0)
    pen.oval((110, 370, 370, 632), fur)
    pen.oval((165, 430, 315, 620), light, 0)
    for side in (-1, 1):
        pen.oval((240 + side * 95 - 58, 572, 240 + side * 95 + 58, 634), fur)
        pen.oval((240 + side * 122 - 30, 430, 240 + side * 122 + 30, 540), fur)
    pen.oval((92, 160, 388, 420), fur)
    pen.plate((140, 386, 340, 436), 24, "#d8344a")
    pen.shape(((290, 420), (345, 424), (352, 520), (306, 512)), "#d8344a")
    for side in (-1, 1):
        pen.oval((240 + side * 100 - 28, 312, 240 + side * 100 + 28, 350), "#f8c9cf", 0)
    _eyes(pen, 270, 62, "#7b4a2d")
    pen.oval((220, 306, 260, 334), "#e8718a", 4)
    _mouth(pen, 344, 34, is_open=is_open)
    pen.plate((229, 346, 251, 368 if is_open else 372), 5, "#ffffff", 3)
    return pen.done()


def fox(*, is_open: bool) -> Image.Image:
    """Finn, a fox with a green bow tie."""
    pen, fur, light = Pen(_SPRITE), "#ee7b30", "#fff3e2"
    pen.oval((318, 372, 474, 596), fur)
    pen.oval((386, 372, 470, 470), light, 0)
    pen.oval((118, 372, 362, 632), fur)
    pen.oval((172, 424, 308, 624), light, 0)
    for side in (-1, 1):
        pen.shape(((240 + side * 40, 170), (240 + side * 148, 40), (240 + side * 160, 240)), fur)
        pen.shape(
            ((240 + side * 82, 160), (240 + side * 134, 92), (240 + side * 138, 200)), "#4a2a22", 0
        )
        pen.oval((240 + side * 88 - 54, 576, 240 + side * 88 + 54, 634), "#4a2a22")
        pen.oval((240 + side * 116 - 30, 430, 240 + side * 116 + 30, 545), fur)
    pen.oval((86, 140, 394, 416), fur)
    for side in (-1, 1):
        pen.oval((240 + side * 84 - 66, 280, 240 + side * 84 + 66, 402), light, 0)
    pen.oval((180, 290, 300, 408), light, 0)
    _eyes(pen, 256, 64, "#3d7a3a")
    pen.oval((214, 302, 266, 338), "#2b2238", 0)
    _mouth(pen, 348, 38, is_open=is_open)
    for side in (-1, 1):
        pen.shape(((240, 430), (240 + side * 66, 400), (240 + side * 66, 462)), "#2f9e5f")
    pen.oval((222, 412, 258, 448), "#257a4a")
    return pen.done()


def robot(*, is_open: bool) -> Image.Image:
    """Bolt, a robot."""
    pen, steel, dark = Pen(_SPRITE), "#b9c7d8", "#6d7f96"
    pen.line(((240, 130), (240, 62)), 12, dark)
    pen.oval((212, 20, 268, 76), "#ffcb3d")
    for side in (-1, 1):
        x = 240 + side * 165
        pen.plate((x - 26, 205, x + 26, 300), 14, dark)
        pen.line(
            ((240 + side * 118, 440), (240 + side * 178, 480), (240 + side * 172, 545)), 30, dark
        )
        pen.oval((240 + side * 172 - 30, 530, 240 + side * 172 + 30, 590), "#ffcb3d")
        pen.plate((240 + side * 62 - 40, 560, 240 + side * 62 + 40, 634), 16, dark)
    pen.plate((200, 380, 280, 430), 8, dark)
    pen.plate((118, 412, 362, 590), 40, steel)
    pen.plate((172, 456, 308, 546), 16, "#33415c")
    for index, colour in enumerate(("#ff6b6b", "#ffcb3d", "#5fe08d")):
        pen.oval((190 + index * 38, 482, 218 + index * 38, 510), colour, 3)
    pen.plate((84, 130, 396, 396), 56, steel)
    pen.plate((116, 168, 364, 362), 40, "#22304a")
    for side in (-1, 1):
        x = 240 + side * 62
        pen.oval((x - 36, 196, x + 36, 268), "#62e6ff", 0)
        pen.oval((x - 14, 206, x + 10, 230), "#ffffff", 0)
    if is_open:
        pen.plate((186, 292, 294, 342), 18, "#62e6ff", 0)
        for x in (206, 228, 250, 272):
            pen.line(((x, 298), (x, 336)), 5, "#22304a")
    else:
        pen.line(((192, 314), (288, 314)), 10, "#62e6ff")
    return pen.done()


def alien(*, is_open: bool) -> Image.Image:
    """Zia, a small green visitor."""
    pen, skin, dark = Pen(_SPRITE), "#8ede6a", "#5fb544"
    for side in (-1, 1):
        pen.line(((240 + side * 50, 150), (240 + side * 92, 62)), 10, dark)
        pen.oval((240 + side * 96 - 28, 18, 240 + side * 96 + 28, 74), "#ff8fd0")
        pen.oval((240 + side * 112 - 28, 430, 240 + side * 112 + 28, 556), skin)
        pen.oval((240 + side * 64 - 52, 584, 240 + side * 64 + 52, 634), skin)
    pen.shape(((150, 620), (178, 400), (302, 400), (330, 620)), "#7257d6")
    pen.plate((150, 580, 330, 622), 18, "#5a40b8")
    pen.oval((206, 452, 274, 520), "#ffd54a")
    pen.oval((62, 118, 418, 420), skin)
    for x, y, r in ((120, 250, 14), (350, 200, 18), (372, 262, 9)):
        pen.oval((x - r, y - r, x + r, y + r), dark, 0)
    _eyes(pen, 256, 86, "#5a40b8", 34)
    pen.oval((208, 168, 272, 246), "#ffffff", 4)
    pen.oval((222, 190, 258, 232), "#5a40b8", 0)
    pen.oval((232, 200, 250, 222), "#17121f", 0)
    _mouth(pen, 340, 46, is_open=is_open)
    return pen.done()


def cat(*, is_open: bool) -> Image.Image:
    """Nova, a cat in a space suit."""
    pen, fur, suit = Pen(_SPRITE), "#6b6f8f", "#f4f6fb"
    pen.line(((350, 560), (430, 520), (420, 430)), 26, _INK)
    pen.line(((350, 560), (430, 520), (420, 430)), 17, fur)
    for side in (-1, 1):
        pen.plate((240 + side * 66 - 52, 556, 240 + side * 66 + 52, 634), 26, suit)
        pen.plate((240 + side * 132 - 32, 420, 240 + side * 132 + 32, 560), 30, suit)
    pen.plate((120, 398, 360, 606), 60, suit)
    pen.plate((184, 462, 296, 540), 14, "#ff8c42")
    pen.oval((204, 482, 236, 514), "#ffd54a", 3)
    pen.line(((252, 488), (282, 488)), 7, suit)
    pen.line(((252, 510), (274, 510)), 7, suit)
    pen.oval((64, 84, 416, 430), "#dff1ff", 9, "#c2cbdd")
    for side in (-1, 1):
        pen.shape(((240 + side * 36, 180), (240 + side * 118, 110), (240 + side * 128, 250)), fur)
        pen.shape(
            ((240 + side * 70, 178), (240 + side * 108, 144), (240 + side * 112, 216)), "#f5a8b8", 0
        )
    pen.oval((112, 168, 368, 394), fur)
    pen.oval((176, 290, 304, 388), "#d9dbe8", 0)
    _eyes(pen, 264, 58, "#f2b632")
    pen.shape(((224, 306), (256, 306), (240, 326)), "#e8718a", 3)
    _mouth(pen, 340, 30, is_open=is_open)
    for side in (-1, 1):
        for dy in (-10, 8):
            pen.line(((240 + side * 74, 332 + dy / 2), (240 + side * 140, 326 + dy * 1.6)), 3)
    pen.arc((82, 100, 398, 412), 200, 250, 10, "#ffffff")
    return pen.done()


def _gradient(
    size: tuple[int, int], stops: Sequence[tuple[float, tuple[int, int, int]]]
) -> Image.Image:
    column = Image.new("RGB", (1, size[1]))
    for y in range(size[1]):
        at = y / (size[1] - 1)
        (p0, c0), (p1, c1) = next((a, b) for a, b in pairwise(stops) if at <= b[0])
        share = (at - p0) / (p1 - p0)
        mixed = [round(a + (b - a) * share) for a, b in zip(c0, c1, strict=True)]
        column.putpixel((0, y), (mixed[0], mixed[1], mixed[2]))
    return column.resize(size)


def _flower(pen: Pen, x: float, y: float, colour: str) -> None:
    pen.line(((x, y), (x, y + 22)), 3, "#4d8a33")
    for dx, dy in ((-7, 0), (7, 0), (0, -7), (0, 7)):
        pen.oval((x + dx - 6, y + dy - 6, x + dx + 6, y + dy + 6), colour, 0)
    pen.oval((x - 4, y - 4, x + 4, y + 4), "#f2a73b", 0)


def meadow() -> Image.Image:
    """Hills under a morning sky."""
    size = (1080, 1920)
    sky = _gradient(size, ((0, (92, 176, 240)), (0.5, (190, 230, 250)), (1, (240, 246, 220))))
    glow = Pen(size)
    glow.oval((740, 330, 980, 570), "#fff6c9", 0)
    light = glow.done().getchannel("A").filter(ImageFilter.GaussianBlur(14))
    sky.paste(Image.new("RGB", size, "#fff6c9"), (0, 0), light)
    pen = Pen(size)
    for x, y, s in ((190, 330, 0.9), (560, 480, 0.7), (870, 640, 0.8), (230, 650, 0.6)):
        for dx, dy, r in ((-90, 20, 62), (0, -18, 88), (92, 16, 68), (0, 34, 70)):
            wide, high, cx, cy = r * s, r * s * 0.72, x + dx * s, y + dy * s
            pen.oval((cx - wide, cy - high, cx + wide, cy + high), "#ffffff", 0)
    pen.oval((-500, 860, 760, 2100), "#a6d672", 0)
    pen.oval((320, 900, 1700, 2300), "#8cc65c", 0)
    pen.oval((-700, 1060, 1800, 2700), "#6fb148", 0)
    rng = random.Random(7)
    for _ in range(150):
        at = (rng.uniform(0, 1080), rng.uniform(1150, 1900))
        if abs(at[1] - 1340) >= 170:  # the captions' place stays free
            _flower(pen, *at, rng.choice(("#fff4f8", "#ffd54a", "#f58fb0", "#c9a4ff")))
    top = pen.done()
    sky.paste(top.convert("RGB"), (0, 0), top)
    return sky


def orbit() -> Image.Image:
    """A landing place on a small moon, with a ringed planet."""
    size = (1080, 1920)
    sky = _gradient(size, ((0, (18, 14, 52)), (0.55, (62, 36, 120)), (1, (196, 92, 150))))
    pen = Pen(size)
    rng = random.Random(11)
    for _ in range(240):
        x, y = rng.uniform(0, 1080), rng.uniform(0, 1150)
        r = rng.choice((1.5, 2.0, 2.0, 3.0, 4.0))
        pen.oval((x - r, y - r, x + r, y + r), rng.choice(("#ffffff", "#cfe3ff", "#ffe9c4")), 0)
    pen.oval((640, 330, 960, 650), "#f2a65a", 0)
    for y, h, colour in ((390, 40, "#e0873c"), (470, 26, "#f7c07d"), (540, 44, "#d9773a")):
        pen.plate((672, y, 928, y + h), h / 2, colour, 0)
    pen.arc((540, 420, 1060, 570), 5, 175, 16, "#ffe3b3")
    pen.arc((560, 436, 1040, 554), 10, 170, 8, "#d9a86a")
    pen.oval((120, 420, 250, 550), "#b8c4e0", 0)
    for x, y, size_ in ((160, 460, 16), (205, 500, 22), (205, 450, 9)):
        pen.oval((x - size_, y - size_, x + size_, y + size_), "#97a5c8", 0)
    pen.oval((-600, 1050, 1700, 3200), "#584a86", 0)
    pen.oval((-500, 1120, 1560, 3300), "#6a5a9c", 0)
    for x, y, w in (
        (150, 1420, 110),
        (820, 1500, 150),
        (420, 1690, 180),
        (930, 1790, 90),
        (120, 1760, 80),
    ):
        pen.oval((x - w, y - w * 0.32, x + w, y + w * 0.32), "#54467f", 0)
        pen.arc((x - w, y - w * 0.32, x + w, y + w * 0.32), 20, 160, 7, "#8676bb")
    top = pen.done()
    sky.paste(top.convert("RGB"), (0, 0), top)
    return sky


def pictures() -> Iterator[tuple[Path, Image.Image]]:
    """Every picture with its file."""
    cast: dict[str, dict[str, Callable[..., Image.Image]]] = {
        "meadow": {"ruby": rabbit, "finn": fox},
        "orbit": {"bolt": robot, "zia": alien, "nova": cat},
    }
    for theme, figures in cast.items():
        for name, figure in figures.items():
            yield THEMES / theme / f"{name}.png", figure(is_open=False)
            yield THEMES / theme / f"{name}-speaking.png", figure(is_open=True)
    for theme, scene in (("meadow", meadow), ("orbit", orbit)):
        picture = scene().quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
        yield THEMES / theme / "background.png", picture
