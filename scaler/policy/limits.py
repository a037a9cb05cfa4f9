"""What can keep a decision from the number that was wanted: each with all that follows from it.

A new limit is one member here, and the line of `decide` that names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

Level = Literal["good", "busy", "warning", "bad", "paused"]
"""How the page shows a target, from calm to alarming; paused is a person's doing."""


@dataclass(frozen=True, slots=True)
class LimitRow:
    """What the parts that meet a limit need to know of it. Texts are templates over the facts of
    a decision that `explain.facts` names."""

    word: str
    """As it is recorded and labels a metric (`bound`)."""
    sentence: str
    """Of the explanation."""
    holds: bool = False
    """No new number is decided while it stands, so demand says nothing."""
    under_override: bool = False
    """It is named even where a person's override sets the number, as those that hold are."""
    level: Level | None = None
    """What the page makes of it; None leaves that to the load."""
    headline: str = ""
    """The page's words for that."""


class Limit(Enum):
    """All there are."""

    PAUSE = LimitRow(
        "pause",
        "Scaling is {note}. Nothing is changed until it is resumed or ends by itself.",
        holds=True,
        level="paused",
        headline="Paused{at}",
    )
    OVERRIDE = LimitRow(
        "override",
        "A person ordered this number ({note}).",
        level="paused",
        headline="Overridden to {kept}",
    )
    UNKNOWN = LimitRow(
        "unknown",
        "How many are needed is unknown, as {note}. Unknown is not zero: {kept}.",
        holds=True,
        level="bad",
        headline="{unseen} unknown: {held}",
    )
    ORCHESTRATOR = LimitRow(
        "orchestrator",
        "Nothing may be changed now: {note}.",
        holds=True,
        level="warning",
        headline="Held: {note}",
    )
    BUSY = LimitRow(
        "busy workers",
        "No busy worker is ever stopped, so as many stay as are busy.",
        under_override=True,
    )
    MIN = LimitRow("min_workers", "Fewer would do; min_workers is {low}.")
    MAX = LimitRow(
        "max_workers",
        "Why not more: max_workers is {high}, so the queue drains at the maximum.",
    )
    SCHEDULE = LimitRow("schedule", "The schedule {window!r} is open and sets this bound.")
    COOLDOWN = LimitRow(
        "cooldown_period",
        "Why not otherwise: the cooldown since the last change has not passed.",
    )
    UP_THRESHOLD = LimitRow(
        "scale_up_threshold",
        "Why not otherwise: fewer jobs wait than the scale-up threshold asks for.",
    )
    DOWN_THRESHOLD = LimitRow(
        "scale_down_threshold",
        "Why not otherwise: more jobs wait than the scale-down threshold allows.",
    )
    ADDED = LimitRow(
        "max_added_per_minute", "Why not otherwise: no more may be added within a minute."
    )
    REMOVED = LimitRow(
        "max_removed_per_minute", "Why not otherwise: no more may be removed within a minute."
    )

    @property
    def row(self) -> LimitRow:
        """All that follows from it."""
        return self.value


_BY_WORD = {limit.row.word: limit for limit in Limit}


def bound_of(limit: Limit | None, window: str) -> str:
    """As it is recorded: its word, with the name of the schedule that set it; "" for none."""
    if limit is None:
        return ""
    return f"{limit.row.word} {window}" if window else limit.row.word


def limit_of(bound: str) -> tuple[Limit | None, str]:
    """What `bound_of` was given; a word of another version is no limit that this one knows."""
    known = _BY_WORD.get(bound)
    if known is not None:
        return known, ""
    word, _, window = bound.partition(" ")
    limit = _BY_WORD.get(word)
    return limit, window if limit else ""
