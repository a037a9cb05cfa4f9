"""Secrets, from a file, a folder or a variable: read, trimmed and checked alike."""

from __future__ import annotations

import re
import string
from pathlib import Path

from common.errors import HIDDEN, ConfigError, Said

MAX_SECRET_BYTES = 65_536
_AROUND = (
    string.whitespace
    + "\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"
    + "".join(map(chr, range(0x2000, 0x200B)))
)
"""White space, as every reader of such files takes it away, and the mark that editors put first."""
UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters and what is no text: such as an --env-file with line ends of Windows leaves at
a value's end."""
NOT_UNFIT = "no control characters, such as a line end (\\r, \\n)"


def read_secret(name: str, path: str | Path) -> str:
    """What the file at `path`, which `name` has named, holds, without the white space around it.

    Raises ConfigError when it can't be read, is too large, empty or no line of text.
    """
    try:
        raw = read_limited(path, MAX_SECRET_BYTES)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or "no path"
        raise ConfigError(name, shown_path(path), f"the path of a readable file ({said})") from None
    if raw is None:
        allowed = f"the path of a file of at most {MAX_SECRET_BYTES} bytes"
        raise ConfigError(name, shown_path(path), allowed)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ConfigError(name, shown_path(path), "the path of a text file in UTF-8") from None
    return trimmed(name, text)


def trimmed(name: str, text: str) -> str:
    """`text` without the white space around it. Raises ConfigError when nothing is left, or what
    is left is no line of text."""
    text = text.strip(_AROUND)
    if not text:
        # Not as if it were not set: that would open what it is to protect.
        raise ConfigError(name, HIDDEN, "something but white space")
    if UNFIT.search(text):
        raise ConfigError(name, HIDDEN, NOT_UNFIT)
    return text


def read_limited(path: str | Path, most: int) -> bytes | None:
    """The bytes of a file; None where they are more than `most`. Raises OSError, and ValueError
    for what can't be a path."""
    with Path(path).open("rb") as file:
        raw = file.read(most + 1)
    return raw if len(raw) <= most else None


def shown_path(given: str | Path) -> Said:
    """A path, to be shown; HIDDEN where it may be the secret itself, given in place of its file:
    no secret has a folder."""
    try:
        folder = Path(given).parent
        named = folder not in (Path(), Path("/")) and folder.is_dir()
    except (OSError, ValueError):
        named = False
    return Said(repr(str(given))) if named else HIDDEN
