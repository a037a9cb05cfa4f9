"""The other two rules an operator can choose: thresholds (`policy: plan`), and a bare query."""

from __future__ import annotations

from math import ceil

from scaler.policy.observation import Known, Observation
from scaler.policy.target import MAX_REPLICAS


def thresholds_want(observation: Observation, active: int) -> int:
    """One worker per waiting job and one more; shrink by half at most; 1 or 2 when idle.

    It looks at waiting jobs only, so a busy fleet with an empty queue looks idle to it.
    """
    waiting = observation.waiting
    if not isinstance(waiting, Known):
        raise ValueError("the threshold rule needs the number of waiting jobs")
    depth = int(min(waiting.value, MAX_REPLICAS))
    if depth == 0:
        return max(1, min(active, 2))
    wanted = depth + 1
    return wanted if wanted >= active else max(wanted, active // 2)


def raw_wants(observation: Observation, per_worker: float) -> int:
    """The answer to the operator's query over what one worker carries, rounded up."""
    signal = dict(observation.extra)["query"]
    if not isinstance(signal, Known):
        raise ValueError("policy raw needs an answer to its query")
    # A load below nothing, which an operator's formula may come to, is none.
    return ceil(min(max(signal.value / per_worker, 0.0), MAX_REPLICAS))
