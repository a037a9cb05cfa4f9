"""Which queues are reported: include and exclude patterns over virtual hosts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

_WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True, order=True)
class QueueName:
    """A queue where it is unique."""

    vhost: str
    name: str


def is_pattern(text: str) -> bool:
    """Whether `text` has a wildcard, so that a listing is needed to know what it means."""
    return not _WILD.isdisjoint(text)


@dataclass(frozen=True, slots=True)
class Selection:
    """The operator's choice."""

    include: Sequence[str]
    exclude: Sequence[str]
    vhosts: Sequence[str]

    @property
    def needs_listing(self) -> bool:
        """Whether any name or virtual host is a pattern."""
        return any(map(is_pattern, (*self.include, *self.vhosts)))

    def matches(self, queue: QueueName) -> bool:
        """Whether this queue is reported."""
        return (
            _any(self.vhosts, queue.vhost)
            and _any(self.include, queue.name)
            and not _any(self.exclude, queue.name)
        )

    def named(self) -> list[QueueName]:
        """The queues known without a listing: those named in full in a host named in full."""
        hosts = [host for host in self.vhosts if not is_pattern(host)]
        names = [name for name in self.include if not is_pattern(name)]
        found = {QueueName(host, name) for host in hosts for name in names}
        return sorted(queue for queue in found if self.matches(queue))

    def resolve(self, listing: Iterable[QueueName]) -> list[QueueName]:
        """Named queues and those of `listing` that match, sorted."""
        return sorted({*self.named(), *(queue for queue in listing if self.matches(queue))})


def _any(patterns: Sequence[str], text: str) -> bool:
    return any(text == pattern or fnmatchcase(text, pattern) for pattern in patterns)
