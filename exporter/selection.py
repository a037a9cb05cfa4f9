"""Which queues are reported: include and exclude patterns over virtual hosts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from common.settings import MAX_NAME_BYTES

DEAD_SUFFIX = ".dead"
_WILD = re.compile(r"[*?]")


@dataclass(frozen=True, slots=True, order=True)
class QueueName:
    """A queue's name, unique with its virtual host."""

    vhost: str
    name: str

    @property
    def dead(self) -> QueueName | None:
        """The queue of this queue's parked jobs; None where its name would be too long to be."""
        name = self.name + DEAD_SUFFIX
        return QueueName(self.vhost, name) if len(name.encode()) <= MAX_NAME_BYTES else None


def is_pattern(text: str) -> bool:
    """Whether `text` has a wildcard, so that a listing is needed to know what it means."""
    return _WILD.search(text) is not None


def as_regex(patterns: Iterable[str]) -> str:
    """One regular expression, for Python and for the broker (PCRE), that matches any of them.

    `*` stands for any characters, `?` for one.
    """
    parts = (re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") for pattern in patterns)
    return f"^(?:{'|'.join(parts)})$"


@dataclass(frozen=True, slots=True)
class Selection:
    """The operator's choice."""

    include: Sequence[str]
    exclude: Sequence[str]
    vhosts: Sequence[str]
    _matchers: tuple[re.Pattern[str], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        given = (self.vhosts, self.include, self.exclude)
        compiled = tuple(re.compile(as_regex(patterns), re.DOTALL) for patterns in given)
        object.__setattr__(self, "_matchers", compiled)

    @property
    def needs_listing(self) -> bool:
        """Whether any name or virtual host is a pattern."""
        return any(map(is_pattern, (*self.include, *self.vhosts)))

    def matches(self, queue: QueueName) -> bool:
        """Whether this queue is reported."""
        vhosts, include, exclude = self._matchers
        return bool(
            vhosts.match(queue.vhost)
            and include.match(queue.name)
            and not (self.exclude and exclude.match(queue.name))
        )

    def named(self) -> list[QueueName]:
        """The queues known without a listing: those named in full in a host named in full."""
        hosts = [host for host in self.vhosts if not is_pattern(host)]
        names = [name for name in self.include if not is_pattern(name)]
        found = {QueueName(host, name) for host in hosts for name in names}
        return sorted(queue for queue in found if self.matches(queue))

    def resolve(self, listing: Iterable[QueueName]) -> list[QueueName]:
        """What to read: named queues with those of their parked jobs, whether they exist or not,
        and of `listing` what matches, with the queues of its parked jobs."""
        known = set(listing)
        named = self.named()
        matched = {queue for queue in known if self.matches(queue)}
        parked = {dead for queue in matched if (dead := queue.dead) in known}
        beside = {queue.dead for queue in named}
        return sorted(queue for queue in {*named, *beside, *matched, *parked} if queue is not None)
