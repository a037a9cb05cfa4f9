"""Who has been asked to leave: drain requests from asking to leaving or being taken back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from scaler.policy.observation import Worker, WorkerCondition

UNANSWERED_AFTER_S = 15.0
"""An idle worker leaves within two seconds; one that has not by then will not."""


class DrainLedger(Protocol):
    """The two things that the scaler may write to the ledger."""

    def request_drain(self, worker_id: str, reason: str, *, ttl_s: int = 60) -> bool:
        """Ask an idle worker to leave; False when it is not idle any more."""

    def withdraw_drain(self, worker_id: str) -> None:
        """Take a drain request back."""


class _Asked(NamedTuple):
    at: float
    """Monotonic seconds."""
    idle_since: float
    """As the worker told it when it was asked. Its times are compared with each other alone:
    its host's clock is not ours."""


class Drains:
    """The drain requests that stand for one target. `now` is monotonic seconds."""

    def __init__(self, ledger: DrainLedger) -> None:
        self._ledger = ledger
        self._asked: dict[str, _Asked] = {}

    def pending(self, workers: Sequence[Worker]) -> set[str]:
        """Workers that were asked and are still counted as if they were not."""
        return {
            w.id for w in workers if w.id in self._asked and w.state is not WorkerCondition.DRAINING
        }

    def ask(self, workers: Sequence[Worker], reason: str, now: float) -> list[str]:
        """Ask each; the ids of those to whom it was granted."""
        granted = []
        for worker in workers:
            if self._ledger.request_drain(worker.id, reason):
                self._asked[worker.id] = _Asked(now, worker.since)
                granted.append(worker.id)
        return granted

    def review(self, workers: Sequence[Worker], now: float) -> list[str]:
        """Forget those who have left; take back what was asked of those who took a job at the
        last moment or who do not answer. The ids of the latter."""
        seen = {worker.id: worker for worker in workers}
        taken_back = []
        for worker_id, asked in list(self._asked.items()):
            worker, overdue = seen.get(worker_id), now - asked.at > UNANSWERED_AFTER_S
            if worker is None:
                # Not in sight for a moment is not yet gone; the request expires by itself.
                if overdue:
                    del self._asked[worker_id]
                continue
            # Busy since before it was idle: that was seen before it was asked, and is told late.
            kept_job = worker.state is WorkerCondition.BUSY and worker.since > asked.idle_since
            silent = worker.state is not WorkerCondition.DRAINING and overdue
            if kept_job or silent:
                self.withdraw([worker_id])
                taken_back.append(worker_id)
        return taken_back

    def withdraw(self, worker_ids: Sequence[str]) -> None:
        """Take the requests back: the workers are wanted again."""
        for worker_id in worker_ids:
            self._ledger.withdraw_drain(worker_id)
            self._asked.pop(worker_id, None)
