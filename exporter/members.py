"""The fleet as the exporter reports it: records and the ledger's clock in, states out. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from common.records import WorkerRecord, WorkerState

UNHEALTHY = "unhealthy"
STATES = (*(str(state) for state in WorkerState), UNHEALTHY)


@dataclass(frozen=True, slots=True)
class Member:
    """One worker with the state that it counts in."""

    record: WorkerRecord
    state: str
    since: datetime
    """When that state began; for the silent, when it was last seen."""
    silent: bool = False
    """Not seen within the limit."""

    @property
    def healthy(self) -> bool:
        """Whether it is seen and reports no problem."""
        return not (self.silent or self.record.problem)


def members(
    records: Iterable[WorkerRecord],
    now: datetime,
    *,
    unhealthy_after_s: float,
    forget_after_s: float,
) -> list[Member]:
    """The workers to report, by id. Those not seen for `forget_after_s` are left out."""
    found = []
    for record in sorted(records, key=lambda record: record.id):
        # From the future: of before the ledger's clock was set back.
        silent_s = abs((now - record.last_seen).total_seconds())
        if silent_s > forget_after_s:
            continue
        if silent_s > unhealthy_after_s:
            found.append(Member(record, UNHEALTHY, record.last_seen, silent=True))
        elif record.problem:
            found.append(Member(record, UNHEALTHY, record.problem_since or record.last_seen))
        else:
            found.append(Member(record, str(record.status), record.status_since))
    return found


def in_flight(fleet: Iterable[Member]) -> int:
    """Jobs that live workers have."""
    return sum(not member.silent and member.record.has_job for member in fleet)


def stranded(fleet: Iterable[Member]) -> int:
    """Jobs of workers whose heartbeats have stopped."""
    return sum(member.silent and member.record.has_job for member in fleet)


def counts(fleet: Iterable[Member]) -> dict[str, int]:
    """Workers per state; every state has an entry."""
    result = dict.fromkeys(STATES, 0)
    for member in fleet:
        result[member.state] += 1
    return result
