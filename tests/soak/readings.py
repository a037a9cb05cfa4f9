"""Reads what workers have left behind: their journal and their logs."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.soak.evidence import End, Mark, What
from tests.soak.plan import JOB_ID

SESSION_ENDED = frozenset({"no broker connection"})
"""The events by which a worker says that its session with the broker has ended."""
SETTLED = frozenset(
    {
        "job done",
        "job failed",
        "job given back",
        "job refused",
        "message quarantined",
        "put off",
        "settled by an earlier holder; acknowledged",
    }
)
"""The events by which it says that it has settled what it had in hand."""
_EVENTS = {
    **dict.fromkeys(SESSION_ENDED, What.SESSION_ENDED),
    **dict.fromkeys(SETTLED, What.SETTLED),
}
_LEFT_OUT = {"component", "event", "program", "level", "timestamp", "job_id"}


def read_marks(folder: Path) -> list[Mark]:
    """Everything that the workers in this folder did, by time."""
    marks = list(journal((folder / "journal").read_text().splitlines()))
    for path in sorted(folder.glob("*.log")):
        marks += logged(path.stem, path.read_text(errors="replace").splitlines())
    return sorted(marks, key=lambda mark: mark.at)


def journal(lines: Iterable[str]) -> Iterator[Mark]:
    """The marks of the journal."""
    for line in lines:
        at, what, job_id, process = line.split()
        yield Mark(float(at), process, What(what), _known(job_id))


def logged(process: str, lines: Iterable[str]) -> Iterator[Mark]:
    """The marks of a worker's log; what is no JSON belongs to the line before."""
    at = 0.0
    for line in lines:
        if not line.startswith("{"):
            yield Mark(at, process, What.LOGGED, text=line)
            continue
        entry: dict[str, Any] = json.loads(line)
        event = str(entry["event"])
        at = (
            datetime.fromisoformat(entry["timestamp"].removesuffix("Z"))
            .replace(tzinfo=UTC)
            .timestamp()
        )
        rest = " ".join(f"{k}={v!r:.120}" for k, v in entry.items() if k not in _LEFT_OUT)
        what = _EVENTS.get(event, What.LOGGED)
        job_id = _known(entry.get("job_id")) or _told_of(str(entry.get("error", "")))
        yield Mark(at, process, what, job_id, f"{event} {rest}".strip())


def _known(job_id: str | None) -> str | None:
    """The id by which the plan knows a job: of a very long one its beginning."""
    found = JOB_ID.match(job_id or "")
    return found.group() if found else None


def excused(ends: Sequence[End], marks: Sequence[Mark]) -> list[End]:
    """The ends, with those that a job brought about by order of the test as the test's."""
    murdered = {mark.process for mark in marks if mark.what is What.MURDER}
    return [
        replace(end, by_test=True, how="was killed by its job")
        if end.process in murdered and end.code == -signal.SIGKILL
        else end
        for end in ends
    ]


def _told_of(error: str) -> str | None:
    """The id in what an error shows of a message that has none that can be read."""
    found = JOB_ID.search(error)
    return found.group() if found else None
