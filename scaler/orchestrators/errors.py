"""Errors that more than one part of the scaler speaks of; imports nothing."""


class OrchestratorError(Exception):
    """The orchestrator did not answer, or refused; the sentence is fit for a reason."""
