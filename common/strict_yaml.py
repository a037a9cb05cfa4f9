"""YAML as its version 1.2 has it, read strictly and within bounds.

Of what is not quoted, `null`, `true`, `false` and decimal numbers are values, and all else is
text: `yes`, `010`, `0x1F`, `1:30` and dates, too. What would be read otherwise than its writer
meant is refused: a key that is there twice, one that is no text, a tag, a second document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_DEPTH = 32
"""How many lists and mappings may stand in one another."""
MAX_VALUES = 100_000
"""How many values there may be; what an alias stands for counts each time."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_QUOTED = re.compile(r"'.*'|\".*\"", re.DOTALL)
_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Without a zero in front: 010 is 8 to some and 10 to others, so it stays what it is, text.
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,99})")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_NO_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MERGE = "<<"


class YamlProblemError(ValueError):
    """What is wrong with a text; has nothing of the text in it but `key`."""

    def __init__(self, what: str, line: int, allowed: str, key: str | None = None) -> None:
        super().__init__(f"{what}, line {line}")
        self.allowed = allowed
        self.key = key
        """The key that it is about, which may itself be what nobody is to see."""


def parse(text: str) -> Any:
    """The document in `text`; None where there is nothing. Raises YamlProblemError only."""
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except YamlProblemError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        what, line = _place(error)
        raise YamlProblemError(what, line, "well-formed YAML") from None
    return builder.document


def _place(error: Exception) -> tuple[str, int]:
    """What is wrong and in which line, without the text there: it may be a secret."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None)
    return _QUOTED.sub("…", str(problem or "unreadable")), mark.line + 1 if mark else 1


@dataclass(slots=True)
class _Open:
    """A list or a mapping whose end has not come."""

    line: int
    anchor: str | None
    values_before: int
    content: list[Any] | dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)
    """Of the keys."""
    key: str | None = None
    """Whose value is next."""
    merges: bool = False
    """Whether the next value is to be merged into this mapping."""
    merged: list[dict[str, Any]] = field(default_factory=list)


class _Builder:
    """Makes a document of the parser's events, without recursion."""

    def __init__(self) -> None:
        self.document: Any = None
        self._documents = 0
        self._values = 0
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if getattr(event, "tag", None) is not None:
            raise YamlProblemError("a tag", line, "values without tags (!)")
        if isinstance(event, yaml.ScalarEvent):
            self._count(1, line)
            self._add(_scalar(event, line), line, event.anchor, plain=event.implicit[0])
        elif isinstance(event, yaml.AliasEvent):
            value, size = self._anchored(event.anchor, line)
            self._count(size, line)
            self._add(value, line, None)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end()
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise YamlProblemError("a second document", line, "one document in a file")

    def _begin(self, event: Any, line: int) -> None:
        if len(self._open) == MAX_DEPTH:
            raise YamlProblemError("nested too deep", line, f"at most {MAX_DEPTH} levels")
        self._count(1, line)
        content: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._open.append(_Open(line, event.anchor, self._values - 1, content))

    def _end(self) -> None:
        done = self._open.pop()
        if done.merged:
            merged: dict[str, Any] = {}
            for each in reversed(done.merged):  # the first of several wins
                merged |= each
            done.content = merged | dict(done.content)
        # Before it is added: it is a part of its mapping, and may be named in what comes later.
        self._remember(done.anchor, done.content, self._values - done.values_before)
        self._add(done.content, done.line, None)

    def _add(self, value: Any, line: int, anchor: str | None, *, plain: bool = False) -> None:
        self._remember(anchor, value, 1)
        if not self._open:
            self.document = value
            return
        top = self._open[-1]
        if isinstance(top.content, list):
            top.content.append(value)
        elif top.merges:
            top.merged += _mappings(value, line)
            top.merges = False
        elif top.key is None:
            self._add_key(top, value, line, plain=plain)
        else:
            top.content[top.key] = value
            top.key = None

    def _add_key(self, top: _Open, key: Any, line: int, *, plain: bool) -> None:
        if plain and key == _MERGE:
            top.merges = True
            return
        if not isinstance(key, str):
            raise YamlProblemError("a key that is no text", line, "text; quote it if need be")
        first = top.lines.setdefault(key, line)
        if key in top.content:
            what = f"the same key as in line {first}"
            raise YamlProblemError(what, line, "each key of a mapping once", key)
        top.key = key

    def _remember(self, anchor: str | None, value: Any, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, size)

    def _anchored(self, anchor: str | None, line: int) -> tuple[Any, int]:
        if anchor is None or anchor not in self._anchors:
            what = "an alias (*) of nothing that has ended before it"
            raise YamlProblemError(what, line, "aliases of what has an anchor (&)")
        return self._anchors[anchor]

    def _count(self, more: int, line: int) -> None:
        self._values += more
        if self._values > MAX_VALUES:
            raise YamlProblemError("too many values", line, f"at most {MAX_VALUES}")


def _scalar(event: Any, line: int) -> Any:
    text: str = event.value
    if _UNFIT.search(text):
        raise YamlProblemError("a control character", line, "text without such characters")
    if not event.implicit[0]:  # it is quoted
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "", 1)) if _NO_FINITE.fullmatch(text) else text


def _mappings(value: Any, line: int) -> list[dict[str, Any]]:
    several = value if isinstance(value, list) else [value]
    if not all(isinstance(each, dict) for each in several):
        raise YamlProblemError("<< of something else", line, "<< of a mapping or a list of them")
    return several
