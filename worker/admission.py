"""Whether a worker may join the fleet: its id is nobody else's, its queue no other fleet's."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime

from common.errors import ConfigError
from common.ledger import Ledger
from common.records import WorkerRecord
from worker.process_identity import alive, realm

_REGISTER_S = 60.0
_BUSY_HEARTBEAT_S = 2.0
# A holder that has not written for so many of its intervals is dead.
_INTERVALS = 2.5
_INSTANCE = re.compile(r"(?P<realm>[0-9a-f]{8})-(?P<pid>\d{1,10})-(?P<start>\d{1,20})")


class Admission:
    """Asked by one thread until it is granted, and now and then after that."""

    def __init__(
        self,
        record: WorkerRecord,
        *,
        heartbeat_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._record = record
        self._heartbeat_s = heartbeat_s
        self._clock = clock
        self._seen: tuple[datetime, float] | None = None
        self._registered_at = float("-inf")
        self.refusal: ConfigError | None = None
        """Why the worker must not work, if so."""

    def seek(self, ledger: Ledger) -> bool:
        """Take the id and the queue's name; whether both are ours. Raises LedgerError.

        False also while it is not clear yet whether who has the id is alive.
        """
        self._register(ledger)
        if self.refusal is not None:
            return False
        holder = ledger.take_identity(self._record)
        if holder is not None and self._is_dead(holder):
            holder = ledger.take_identity(self._record, over=holder.instance)
        return holder is None and self.refusal is None

    def keep(self, ledger: Ledger) -> None:
        """Hold the queue's name for another while. Raises LedgerError."""
        if self._clock() - self._registered_at >= _REGISTER_S:
            self._register(ledger)

    def reopen(self) -> None:
        """The record of our id is another process's by now: find out anew whether that is alive."""
        self._seen = None

    def _register(self, ledger: Ledger) -> None:
        record = self._record
        other = ledger.register_queue(record.queue, record.vhost)
        self._registered_at = self._clock()
        if other is not None:
            allowed = (
                f"a queue of a name that this ledger has not got already, in the virtual host "
                f"{other!r}; or a Redis database of its own for each virtual host"
            )
            self.refusal = ConfigError("JOB_QUEUE", record.queue, allowed)

    def _is_dead(self, holder: WorkerRecord) -> bool:
        if ended_here(holder.instance):
            return True
        now = self._clock()
        if self._seen is None:
            self._seen = (holder.last_seen, now)
        if holder.last_seen != self._seen[0]:
            place = holder.address or holder.node
            allowed = f"an id of its own (a worker at {place} has it)"
            self.refusal = ConfigError("WORKER_ID", self._record.id, allowed)
            return False
        interval_s = _BUSY_HEARTBEAT_S if holder.has_job else self._heartbeat_s
        return now - self._seen[1] > _INTERVALS * interval_s


def ended_here(instance: str) -> bool:
    """Whether the process was of this realm, where its like can be seen, and is no more."""
    found = _INSTANCE.fullmatch(instance)
    return (
        found is not None
        and found["realm"] == realm()
        and not alive(int(found["pid"]), int(found["start"]))
    )
