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
