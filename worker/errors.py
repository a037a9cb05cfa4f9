"""What can go wrong with a job, by what should happen next."""

from __future__ import annotations


class JobError(Exception):
    """A job did not become a video. The text is shown to people; keep it to one line."""


class TransientError(JobError):
    """May well succeed at another time or place: to be tried again after a while."""


class PermanentError(JobError):
    """Will fail again however often it is tried: to be parked for a person to see."""


class SupersededError(JobError):
    """Another worker has taken the job meanwhile: stop, it will finish it."""


class GivenBackError(JobError):
    """The worker has to leave before the job can end: back to the queue with it."""


class BrokerLostError(Exception):
    """The connection that a message came by is gone; the broker hands the message out again."""
