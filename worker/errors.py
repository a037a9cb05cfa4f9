"""What can go wrong with a job, by what should happen next."""

from __future__ import annotations


class JobError(Exception):
    """A job did not become a video. The text is shown to people; keep it to one line."""


class TransientError(JobError):
    """May succeed at another time or on another host: to be retried after a delay."""


class PermanentError(JobError):
    """Will fail on every attempt: to be parked for a person to look at."""


class SupersededError(JobError):
    """Another worker has taken the job over: stop, it will finish it."""


class GivenBackError(JobError):
    """The worker has to leave before the job ends: requeue it."""


class BrokerLostError(Exception):
    """The connection that delivered a message is closed; the broker delivers the message again."""

    caused = False
    """Whether what was asked of the connection ended it, and would again."""


class RefusedError(Exception):
    """The broker will not take a message for a queue now; nothing of it has been kept."""

    def __init__(self, queue: str, why: str, code: int = 0) -> None:
        super().__init__(f"{queue} {why}")
        self.queue = queue
        self.code = code
        """The broker's reply code, where it gave one."""


class NoDelayError(RefusedError):
    """The broker can't keep a message for later without the risk of losing it."""


class UnservedQueueError(Exception):
    """The job queue is of a kind that jobs can't be taken from."""
