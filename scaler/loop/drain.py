"""Who has been asked to leave: drain requests from asking to leaving or being taken back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from scaler.policy.observation import Worker, WorkerCondition

UNANSWERED_AFTER_S = 15.0
"""An idle worker leaves within two seconds; one that has not by then will not."""


class DrainLedger(Protocol):
    """The two things that the scaler may write to the ledger."""

    def request_drain(self, worker_id: str, reason: str, *, ttl_s: int = 60) -> bool:
        """Ask an idle worker to leave; False when it is not idle any more."""

    def withdraw_drain(self, worker_id: str) -> None:
        """Take a drain request back."""


class Drains:
    """The drain requests that stand for one target."""

    def __init__(self, ledger: DrainLedger) -> None:
        self._ledger = ledger
        self._asked: dict[str, float] = {}

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
                self._asked[worker.id] = now
                granted.append(worker.id)
        return granted

    def review(self, workers: Sequence[Worker], now: float) -> list[str]:
        """Forget those who have left; take back what was asked of those who took a job at the
        last moment or who do not answer. The ids of the latter."""
        seen = {worker.id: worker for worker in workers}
        taken_back = []
        for worker_id, asked_at in list(self._asked.items()):
            worker = seen.get(worker_id)
            if worker is None:
                # Not in sight for a moment is not yet gone; the request expires by itself.
                if now - asked_at > UNANSWERED_AFTER_S:
                    del self._asked[worker_id]
                continue
            kept_job = worker.state is WorkerCondition.BUSY and worker.since >= asked_at - 1
            silent = worker.state is WorkerCondition.IDLE and now - asked_at > UNANSWERED_AFTER_S
            if kept_job or silent:
                self.withdraw([worker_id])
                taken_back.append(worker_id)
        return taken_back

    def withdraw(self, worker_ids: Sequence[str]) -> None:
        """Take the requests back: the workers are wanted again."""
        for worker_id in worker_ids:
            self._ledger.withdraw_drain(worker_id)
            self._asked.pop(worker_id, None)
