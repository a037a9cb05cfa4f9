"""Why a call is refused or can't be answered. Wrong metadata is common.errors.InvalidInputError."""

from __future__ import annotations


class CallError(Exception):
    """A call that ends in an error; the message is for the caller."""


class UnknownValueError(CallError):
    """There is no value now, for the reason given: never to be answered as 0."""


class TooSlowError(UnknownValueError):
    """Prometheus did not answer in time."""


class NotAllowedError(CallError):
    """The operator's settings forbid this trigger."""


class LimitError(CallError):
    """A limit of the server is reached."""


class UnknownMetricError(CallError):
    """The metric asked for is not the one of the trigger."""
