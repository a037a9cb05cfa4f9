"""What fails beside the deciding is contained: counted, said once, and over when it works again."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum

from common.errors import cut, printable
from common.logs import get

_LONGEST = 300
_log = get("loop")


class LoopPart(StrEnum):
    """What may fail without the loop's ending."""

    CYCLE = "cycle"
    """What is left of a cycle was not done."""
    DISCOVERY = "discovery"
    """Services that ask to be scaled were not looked for."""
    ORDERS = "orders"
    """Orders of other scalers were not taken."""
    SIGNALS = "signals"
    """What Prometheus answered could not be made out, by a fault of ours."""
    PAST = "past"
    """Recorded signals and decisions were not read after the start."""
    FLEET = "fleet"
    """How a target's fleet stands could not be made out, by a fault of ours."""
    TARGET = "target"
    """A target was not decided on, or what was decided was not done."""
    LISTENER = "listener"
    """Something that wants to know of each cycle: a page, KEDA, the reload, housekeeping."""
    HISTORY = "history"
    """Decisions were not written down."""
    PODS = "pods"
    """Pods were not marked for removal."""


class Containment:
    """What fails now, by part and by what it is about. Safe for use from several threads."""

    def __init__(self) -> None:
        self._failing: dict[tuple[LoopPart, str], str] = {}
        self._failures = dict.fromkeys(LoopPart, 0)
        self._lock = threading.Lock()

    @contextmanager
    def of(self, part: LoopPart, about: str = "") -> Iterator[None]:
        """Whatever is raised within ends here."""
        try:
            yield
        except Exception as error:  # the loop goes on, whatever it is
            self.failed(part, about, sentence(error), error)
        else:
            self.works(part, about)

    def failed(
        self, part: LoopPart, about: str, why: str, error: BaseException | None = None
    ) -> None:
        """Count a failure; the first of a kind is logged, a fault of ours with where it was."""
        key = part, about
        with self._lock:
            self._failures[part] += 1
            before = self._failing.get(key)
            self._failing[key] = why
        if before != why:
            _log.error("failed", part=part, about=about, reason=why, exc_info=error)

    def works(self, part: LoopPart, about: str = "") -> None:
        """It has not failed this time."""
        if (part, about) not in self._failing:
            return
        with self._lock:
            self._failing.pop((part, about), None)
        _log.info("works again", part=part, about=about)

    def forget(self, part: LoopPart, present: Collection[str]) -> None:
        """What is about none of `present` is gone, and so is its failure."""
        with self._lock:
            for key in list(self._failing):
                if key[0] is part and key[1] and key[1] not in present:
                    del self._failing[key]

    def failures(self) -> Mapping[LoopPart, int]:
        """How often each part has failed so far."""
        return dict(self._failures)

    def failing(self) -> Mapping[LoopPart, int]:
        """Of how many things each part fails now."""
        with self._lock:
            keys = list(self._failing)
        return {part: sum(key[0] is part for key in keys) for part in LoopPart}

    def sentences(self) -> list[str]:
        """What fails now, for a person."""
        with self._lock:
            failing = dict(self._failing)
        return [
            f"{' '.join(filter(None, (part, about)))}: {why}"
            for (part, about), why in failing.items()
        ]


def sentence(error: BaseException) -> str:
    """An error in one line of bounded length."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return cut(printable(text), _LONGEST)
