"""PromQL of who works, and the workers that it answers with, by queue."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from scaler.policy.observation import Worker, WorkerCondition
from scaler.prometheus.client import Sample
from scaler.prometheus.signals import named

_UNHEALTHY = WorkerCondition.UNHEALTHY
_STATE, _SINCE, _STUCK = "worker", "worker:since", "worker:stuck"
_STATES, _BEGINNINGS = "autoscaler_worker_state", "autoscaler_worker_state_since_seconds"
_KINDS = {_STATES: _STATE, _BEGINNINGS: _SINCE}
# Unhealthy for so long, so that a moment after an outage of the ledger replaces nobody; and a job
# makes progress that has begun or moved within so long.
_UNHEALTHY_FOR = "30s"
_PROGRESS_WITHIN = "1m"


def crew_queries(queues: str) -> tuple[str, str]:
    """PromQL of the workers' states, and of when those began; `queues` as `signals.matcher`."""
    return f"{_STATES}{{{queues}}}", f"{_BEGINNINGS}{{{queues}}}"


def crew_query(queues: str) -> str:
    """PromQL of both and of who is stuck, in one answer.

    Aggregated, since two series that say the same would otherwise make the whole of it an error.
    """
    states, beginnings = crew_queries(queues)
    state = f"max by (queue, worker, instance, state, node, task, slot) ({states})"
    since = f"max by (queue, worker, instance) ({beginnings})"
    return f"{named(state, _STATE)} or {named(since, _SINCE)} or {stuck_query(queues)}"


def stuck_query(queues: str) -> str:
    """PromQL of the workers that were unhealthy a while ago and have no job making progress."""
    unhealthy = ",".join(filter(None, (queues, f'state="{_UNHEALTHY}"')))
    progress = f"autoscaler_worker_job_progress_ratio{{{queues}}}"
    stuck = (
        f"max by (queue, worker) ({_STATES}{{{unhealthy}}} offset {_UNHEALTHY_FOR}"
        f" unless on (queue, worker) (changes({progress}[{_PROGRESS_WITHIN}]) > 0"
        f" or {progress} unless {progress} offset {_PROGRESS_WITHIN}))"
    )
    return named(stuck, _STUCK)


def any_unhealthy(samples: Iterable[Sample]) -> bool:
    """Whether the states in an answer make it worth asking who is stuck."""
    return any(sample.labels.get("state") == _UNHEALTHY for sample in samples)


def workers_of(samples: Iterable[Sample]) -> Mapping[str, tuple[Worker, ...]]:
    """By queue the workers in the answers to these queries, once each though two exporters name
    them."""
    states: dict[tuple[str, str, str], Mapping[str, str]] = {}
    since: dict[tuple[str, str, str], float] = {}
    stuck: set[tuple[str, str]] = set()
    for sample in samples:
        labels = sample.labels
        get = labels.get
        kind = get("signal") or _KINDS.get(get("__name__", ""))
        key = get("queue", ""), get("worker", ""), get("instance", "")
        if kind == _STATE:
            states[key] = labels
        elif kind == _SINCE:
            since[key] = sample.value
        elif kind == _STUCK:
            stuck.add(key[:2])
    return _by_queue(states, since, stuck)


def _by_queue(
    states: Mapping[tuple[str, str, str], Mapping[str, str]],
    since: Mapping[tuple[str, str, str], float],
    stuck: set[tuple[str, str]],
) -> Mapping[str, tuple[Worker, ...]]:
    newest: dict[tuple[str, str], tuple[float, Mapping[str, str]]] = {}
    for key, labels in states.items():
        began = since.get(key, math.nan)
        if not math.isfinite(began):
            continue
        held = newest.get(key[:2])
        # Exporters that disagree for a moment: the newer state holds.
        if held is None or began >= held[0]:
            newest[key[:2]] = began, labels
    found: dict[str, list[Worker]] = {}
    for whose in sorted(newest):
        began, labels = newest[whose]
        found.setdefault(whose[0], []).append(_worker(labels, began, whose in stuck))
    return {queue: tuple(workers) for queue, workers in found.items()}


_CONDITIONS: Mapping[str, WorkerCondition] = {each.value: each for each in WorkerCondition}


def _worker(labels: Mapping[str, str], since: float, is_stuck: bool) -> Worker:
    get = labels.get
    # A state that this version does not know is taken for busy: it counts as capacity, nobody in
    # it is asked to leave, and its pod is the last to be removed.
    state = _CONDITIONS.get(get("state", ""), WorkerCondition.BUSY)
    return Worker(
        id=get("worker", ""),
        state=state,
        since=since,
        node=get("node", ""),
        task=get("task", ""),
        slot=get("slot", ""),
        stuck=is_stuck and state is _UNHEALTHY,
    )
