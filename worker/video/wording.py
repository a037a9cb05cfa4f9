"""Where text may be broken, and which way it runs: pure rules over characters.

Grapheme clusters after Unicode's annex 29, line breaks of Chinese and Japanese after annex 14, as
far as captions need them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple

_ZWSP, _ZWJ = "\u200b", "\u200d"
_CONTROLS = re.compile("[\\x00-\\x08\\x0e-\\x1b\\x7f-\\x84\\x86-\\x9f\ufff9-\ufffb]")
# Signs that choose a form of the letter before them: without one they would be drawn as a ring.
_STRAY = re.compile(r"(?:^|(?<=\s))[\u034f\u180b-\u180d\ufe00-\ufe0f\U000e0100-\U000e01ef]+")
_CHUNK = re.compile(rf"[^\s{_ZWSP}]+")
_IDEOGRAPHIC = re.compile(
    "[\u2e80-\u30ff\u3100-\u312f\u31a0-\u4dbf\u4e00-\ua4cf\uf900-\ufaff\ufe30-\ufe4f"
    "\uff01-\uff60\uff66-\uff9f\U00016fe0-\U00018dff\U0001b000-\U0001b2ff\U00020000-\U0003ffff]"
)
_NEVER_FIRST = frozenset(
    "、。，．：；？！）〕］｝〉》」』】〙〗〟’”»ー〜～々〻ゝゞヽヾ・…‥ぁぃぅぇぉっゃゅょゎゕゖ"
    "ァィゥェォッャュョヮヵヶｰ｡､｣!),.:;?]}%％‰°℃"
)
_NEVER_LAST = frozenset("（〔［｛〈《「『【〘〖〝‘“«([{¥￥$＄£#＃@｢")
_AFTER_THESE = frozenset("/\\-_.?&=:,;+~#%@|\u00ad\u2010\u2013\u2014")
"""Where a word that has to be broken is broken best, such as an address on the web."""
_THAI_LAO_BEFORE = frozenset("เแโใไເແໂໃໄ")
_THAI_LAO_AFTER = frozenset("ะาำๅฯๆະາຳໆຯ")
_VIRAMA = 9
"""The combining class of signs that join a consonant to the next."""


class Found(NamedTuple):
    """Where in a text a word begins and ends, and whether it follows the last without a space."""

    begin: int
    end: int
    is_joined: bool


def words(text: str) -> Iterator[Found]:
    """The words of `text`. Chinese and Japanese have no spaces: each character is a word."""
    ended = 0
    for chunk in _CHUNK.finditer(text):
        begin, before = chunk.start(), ""
        is_joined = ended > 0 and not text[ended:begin].strip(_ZWSP)
        at = begin
        for cluster in clusters(chunk.group()):
            if before and _may_part(before, cluster):
                yield Found(begin, at, is_joined)
                begin, is_joined = at, True
            at += len(cluster)
            before = cluster
        yield Found(begin, at, is_joined)
        ended = at


def wrapped(text: str, fits: Callable[[str], bool]) -> list[str]:
    """`text` in rows that fit, broken inside a word only where it fits in no row."""
    rows: list[str] = []
    for begin, end, is_joined in words(text):
        word = text[begin:end]
        longer = rows[-1] + ("" if is_joined else " ") + word if rows else ""
        if longer and fits(longer):
            rows[-1] = longer
        else:
            rows += [word] if fits(word) else parts(word, fits)
    return rows


def clusters(text: str) -> list[str]:
    """`text` in what readers see as single characters, none of which may be broken."""
    found: list[str] = []
    for character in text:
        if found and _extends(found[-1], character):
            found[-1] += character
        else:
            found.append(character)
    return found


def parts(word: str, fits: Callable[[str], bool]) -> Iterator[str]:
    """The word in as few parts as fit, broken after punctuation where that is not far away."""
    rest = clusters(word)
    while rest:
        count = _longest(rest, fits)
        if count < len(rest):
            good = (at for at in range(count, count // 2, -1) if rest[at - 1][-1] in _AFTER_THESE)
            count = next(good, count)
        yield "".join(rest[:count])
        rest = rest[count:]


def visible(text: str) -> str:
    """What of `text` is for readers: composed as fonts have it, without control characters."""
    return _STRAY.sub("", _CONTROLS.sub("", unicodedata.normalize("NFC", text)))


def reads_leftwards(text: str) -> bool:
    """Whether a paragraph runs from right to left: as its first letter does."""
    strong = (kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL"))
    return next(strong, "L") != "L"


def _longest(rest: list[str], fits: Callable[[str], bool]) -> int:
    """How many clusters fit, at least one."""
    fit = 1
    while fit < len(rest) and fits("".join(rest[: 2 * fit])):
        fit *= 2
    too_many = min(2 * fit, len(rest) + 1)
    while too_many - fit > 1:
        middle = (fit + too_many) // 2
        if fits("".join(rest[:middle])):
            fit = middle
        else:
            too_many = middle
    return fit


def _may_part(before: str, after: str) -> bool:
    ideographic = _IDEOGRAPHIC.match(before) or _IDEOGRAPHIC.match(after)
    return bool(ideographic) and after[0] not in _NEVER_FIRST and before[0] not in _NEVER_LAST


def _extends(cluster: str, character: str) -> bool:
    last = cluster[-1]
    if last == _ZWJ or character in (_ZWJ, "\u200c") or last in _THAI_LAO_BEFORE:
        return True
    if unicodedata.category(character).startswith("M") or character in _THAI_LAO_AFTER:
        return True
    if unicodedata.combining(last) == _VIRAMA:
        return unicodedata.category(character) == "Lo"
    code = ord(character)
    if 0x1F1E6 <= code <= 0x1F1FF:  # two of these letters make a flag
        return len(cluster) % 2 == 1 and all(0x1F1E6 <= ord(c) <= 0x1F1FF for c in cluster)
    # Skin tones, the letters of other flags, and the later parts of Korean syllables.
    ranges = ((0x1F3FB, 0x1F3FF), (0xE0020, 0xE007F), (0x1160, 0x11FF), (0xD7B0, 0xD7FF))
    return any(first <= code <= final for first, final in ranges)
