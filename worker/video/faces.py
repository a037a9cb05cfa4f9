"""The fonts of this host: which of them has a character, and what to install where none has."""

from __future__ import annotations

import re
import struct
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from fontTools.ttLib import TTFont, TTLibError
from PIL import ImageFont

from worker.video.wording import clusters

FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))
EMOJI_SIZE = 109
"""The one size of which colour bitmap fonts have pictures."""
_NAMED = 8
"""So many characters are named in a refusal, of each package."""
_EMOJI_FILE = "NotoColorEmoji.ttf"
_EAST_ASIAN = frozenset(
    ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "FULLWIDTH", "HALFWIDTH", "IDEOGRAPHIC")
)
_OF_ANY_SCRIPT = frozenset(("COMBINING", "MODIFIER", "VARIATION"))
# Where the emoji is what is usually meant, among the older characters.
_COLOURED = frozenset(
    "⌚⌛⏩⏪⏫⏬⏰⏳◽◾☔☕♈♉♊♋♌♍♎♏♐♑♒♓♿⚓⚡⚪⚫⚽⚾⛄⛅⛎⛔⛪⛲⛳⛵⛺⛽✅✊✋✨❌❎❓❔❕❗➕➖➗➰➿⬛⬜⭐⭕"
)
_LESSER = re.compile(
    "Italic|Oblique|Condensed|Narrow|Light|Thin|Mono|Display|Unjoined|UI|Nastaliq|Rashi"
)
_USELESS = re.compile("LastResort|Blank|glyphicons|awesome|icons", re.IGNORECASE)
_EMOJI_WANTED, _TEXT_WANTED = "\ufe0f", "\ufe0e"
# Unicode's Default_Ignorable_Code_Point.
_HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


@dataclass(frozen=True, slots=True)
class Face:
    """One font of a file."""

    path: Path
    index: int = 0

    @property
    def has_colours(self) -> bool:
        """Whether it is made of pictures of the one size `EMOJI_SIZE`."""
        return self.path.name == _EMOJI_FILE

    def at(self, size: int) -> ImageFont.FreeTypeFont:
        """The font in that size, in pixels."""
        return _opened(self, size)

    def has(self, text: str) -> bool:
        """Whether it has all characters of `text` that need one."""
        return _characters(self.path).issuperset(map(ord, _needing(text)))


class Faces:
    """The fonts for one video: the theme's, and behind it those of the host."""

    def __init__(
        self, first: Path, texts: Iterable[str], folders: Sequence[Path] = FOLDERS
    ) -> None:
        """`texts` are all that will be written, which tell Chinese from Japanese and Korean."""
        self.first = Face(first)
        self._index = _east_asian("".join(texts))
        self._files = _listed(tuple(folders))

    def split(self, word: str) -> list[tuple[str, Face]]:
        """The word in pieces, each with the font to write it in.

        What no font has is left to the theme's.
        """
        pieces: list[tuple[str, Face]] = []
        for piece, script in _scripts(word):
            face = self._of_all(piece, script)
            pieces += [(piece, face)] if face else self._piecewise(piece, script)
        return pieces

    def lacking(self, text: str) -> list[str]:
        """The characters of `text` that no font here has, in order."""
        units = (unit for cluster in clusters(text) for unit in self._units(cluster))
        return list(dict.fromkeys(c for unit in units if not self._of_any(unit) for c in unit))

    def _piecewise(self, piece: str, script: str | None) -> list[tuple[str, Face]]:
        pieces: list[tuple[str, Face]] = []
        for unit in (unit for cluster in clusters(piece) for unit in self._units(cluster)):
            last = pieces[-1][1] if pieces else self.first
            face = last if last.has(unit) else self._of_any(unit, script) or self.first
            if pieces and face == last:
                pieces[-1] = (pieces[-1][0] + unit, face)
            else:
                pieces.append((unit, face))
        return pieces

    def _units(self, cluster: str) -> Sequence[str]:
        """The cluster, or where no font has all of it the single characters."""
        return [cluster] if self._of_any(cluster) else cluster

    def _of_all(self, piece: str, script: str | None) -> Face | None:
        """The first font that has the whole piece, of those that are likely to."""
        if script != "EMOJI" and self.first.has(piece):
            return self.first
        return next((face for face in self._made_for(script) if face.has(piece)), None)

    @lru_cache(maxsize=4096)  # noqa: B019 - lives as long as its video
    def _of_any(self, cluster: str, script: str | None = None) -> Face | None:
        likely = script or next((name for _, name in _scripts(cluster) if name), None)
        known = self._of_all(cluster, likely)
        if known is not None or all(unicodedata.category(c) == "Co" for c in cluster):
            return known  # what is for private use means something in the theme's own font alone
        others = (self.first, *map(self._face, self._files))
        return next((face for face in others if face.has(cluster)), None)

    def _made_for(self, script: str | None) -> Iterator[Face]:
        for path in self._files:
            if script == "EMOJI":
                if path.name == _EMOJI_FILE:
                    yield Face(path)
            elif script and re.match(rf"Noto[A-Z][a-z]+{script}", path.name, re.IGNORECASE):
                yield self._face(path)

    def _face(self, path: Path) -> Face:
        return Face(path, self._index if path.name.startswith("NotoSansCJK") else 0)


def missing_fonts(characters: Sequence[str]) -> str:
    """What to install for characters that no font has, by package, in words for people."""
    wanted: dict[str, list[str]] = {}
    for character in characters:
        wanted.setdefault(_package_for(character), []).append(f"{character} U+{ord(character):04X}")
    named = []
    for package, lacking in wanted.items():
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        named.append(f"{package} for {', '.join(lacking[:_NAMED])}{more}")
    return f"install {'; '.join(named)}"


def _package_for(character: str) -> str:
    """The Debian package whose fonts are the likeliest to have it."""
    if unicodedata.category(character) in ("Co", "Cn"):
        return "a font of your own (captions.font of a theme)"
    ((_, script),) = _scripts(character)
    return {"CJK": "fonts-noto-cjk", "EMOJI": "fonts-noto-color-emoji"}.get(
        script or "", "fonts-noto-core"
    )


def _scripts(word: str) -> list[tuple[str, str | None]]:
    """The word in pieces of one script each; what belongs to none goes with what is beside it."""
    pieces: list[tuple[str, str | None]] = []
    for cluster in clusters(word):
        script = _script(cluster)
        text, before = pieces[-1] if pieces else ("", script)
        if script == before or (None in (script, before) and "EMOJI" not in (script, before)):
            pieces[-1:] = [(text + cluster, before or script)]
        else:
            pieces.append((cluster, script))
    return pieces


def _script(cluster: str) -> str | None:
    """The script of a cluster by its name, EMOJI for what is a picture, None for what is common."""
    first = cluster[0]
    if _EMOJI_WANTED in cluster or (_TEXT_WANTED not in cluster and _is_picture(first)):
        return "EMOJI"
    name = unicodedata.name(first, "").partition(" ")[0]
    if name in _EAST_ASIAN:
        return "CJK"
    named_by_script = unicodedata.category(first)[0] in "LM" and name not in _OF_ANY_SCRIPT
    return name if named_by_script else None


def _is_picture(character: str) -> bool:
    beyond = character >= "\U0001f000" and unicodedata.category(character) in ("So", "Sk")
    return beyond or character in _COLOURED


def _needing(text: str) -> list[str]:
    """The characters that need a glyph: not spaces and what shaping hides by itself."""
    return [c for c in text if not (c.isspace() or _HIDDEN.match(c))]


def _east_asian(text: str) -> int:
    """Which font of Noto's collection writes Chinese characters as the text's readers do."""
    names = {unicodedata.name(c, "").partition(" ")[0] for c in set(text)}
    if names & {"HIRAGANA", "KATAKANA"}:
        return 0
    if "HANGUL" in names:
        return 1
    return 3 if "BOPOMOFO" in names else 2


@cache
def _listed(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    """Every font file, the most fitting first: upright, Noto, without serifs, bold."""

    def lesser(path: Path) -> tuple[bool | str, ...]:
        name = path.name
        return (
            name == _EMOJI_FILE,
            bool(_LESSER.search(name)),
            not name.startswith("Noto"),
            not name.startswith("NotoSans"),
            "Bold" not in name,
            name,
        )

    files = (path for folder in folders for path in folder.rglob("*.[ot]t[fc]"))
    return tuple(sorted((path for path in files if not _USELESS.search(path.name)), key=lesser))


@cache
def _characters(path: Path) -> frozenset[int]:
    try:
        with TTFont(path, fontNumber=0, lazy=True) as font:
            if path.name == _EMOJI_FILE and "CBDT" not in font:
                return frozenset()  # drawn by instructions of a kind that Pillow does not follow
            return frozenset(font.getBestCmap() or ())
    except (TTLibError, OSError, ValueError, LookupError, AssertionError, struct.error):
        return frozenset()


@cache
def _opened(face: Face, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(face.path), size, index=face.index)
