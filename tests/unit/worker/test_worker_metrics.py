"""What a worker counts shows when it is scraped."""

from __future__ import annotations

import os

from common.records import Outcome
from worker.metrics import Metrics


def test_every_number_is_shown() -> None:
    metrics = Metrics(
        in_vain=lambda: 2,
        renderer_pid=os.getpid,
        connected=lambda: True,
        reachable=lambda: False,
        waiting=lambda: 3,
    )
    metrics.ended(Outcome.DONE, 12.0)
    metrics.ended(Outcome.PARKED)
    metrics.waited(7.0)
    metrics.quarantined()
    metrics.busy(True)
    shown = {
        (sample.name.removeprefix("autoscaler_worker_"), *sample.labels.values()): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
    }
    assert shown["jobs_total", "done"] == shown["jobs_total", "parked"] == 1
    assert shown["jobs_total", "retried"] == 0
    assert (shown["job_duration_seconds_count",], shown["job_duration_seconds_sum",]) == (1, 12)
    assert (shown["job_wait_seconds_count",], shown["job_wait_seconds_sum",]) == (1, 7)
    assert shown["busy",] == 1
    assert (shown["connected", "broker"], shown["connected", "ledger"]) == (1, 0)
    assert shown["outbox_events",] == 3
    assert (shown["broker_sessions_in_vain",], shown["quarantined_total",]) == (2, 1)
    for process in ("worker", "renderer"):
        assert shown["cpu_seconds_total", process] > 0
        assert shown["resident_memory_bytes", process] > 0
