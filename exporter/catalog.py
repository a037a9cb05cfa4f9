"""Every metric of the exporter: name, type, labels, meaning and an example query.

The families of a scrape and docs/metrics.md are both made from this list. Queue metrics have the
names of RabbitMQ's own Prometheus plugin where the meaning is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `name` is as it is exposed, so counters end in `_total`."""

    name: str
    labels: tuple[str, ...]
    help: str
    example: str
    histogram: bool = False

    @property
    def kind(self) -> str:
        """Its type: a histogram, or what the name's ending says."""
        if self.histogram:
            return "histogram"
        return {"total": "counter", "info": "info"}.get(self.name.rpartition("_")[2], "gauge")

    def family(self) -> Any:
        """An empty family of it."""
        if self.kind == "info":
            return InfoMetricFamily(self.name.removesuffix("_info"), self.help)
        return _FAMILIES[self.kind](self.name, self.help, labels=self.labels)


_FAMILIES = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
    "histogram": HistogramMetricFamily,
}

QUEUE_READY = Metric(
    "rabbitmq_queue_messages_ready",
    ("vhost", "queue"),
    "Messages ready to be delivered, by passive declare: true at this instant",
    'rabbitmq_queue_messages_ready{queue="video-queue"}',
)
QUEUE_CONSUMERS = Metric(
    "rabbitmq_queue_consumers",
    ("vhost", "queue"),
    "Consumers of the queue, by passive declare",
    "rabbitmq_queue_consumers == 0 and rabbitmq_queue_messages_ready > 0",
)
JOBS_PARKED = Metric(
    "autoscaler_jobs_parked",
    ("vhost", "queue"),
    "Messages in the queue's dead-letter queue, `<queue>.dead`, waiting for a person",
    "autoscaler_jobs_parked > 0",
)
QUEUE_UNACKED = Metric(
    "rabbitmq_queue_messages_unacked",
    ("vhost", "queue"),
    "Messages delivered and not yet acknowledged, by the management API: seconds old",
    'rabbitmq_queue_messages_unacked{queue="video-queue"}',
)
QUEUE_HEAD = Metric(
    "rabbitmq_queue_head_message_timestamp",
    ("vhost", "queue"),
    "Unix time of publishing of the oldest message, ready or unacknowledged, where it has one",
    "time() - rabbitmq_queue_head_message_timestamp",
)
QUEUE_MEMORY = Metric(
    "rabbitmq_queue_process_memory_bytes",
    ("vhost", "queue"),
    "Memory of the queue's process in the broker",
    "topk(5, rabbitmq_queue_process_memory_bytes)",
)
QUEUE_PUBLISHED = Metric(
    "rabbitmq_queue_messages_published_total",
    ("vhost", "queue"),
    "Messages that came into the queue",
    "rate(rabbitmq_queue_messages_published_total[5m])",
)
QUEUE_DELIVERED = Metric(
    "rabbitmq_queue_messages_delivered_total",
    ("vhost", "queue"),
    "Messages delivered to consumers that acknowledge automatically",
    "rate(rabbitmq_queue_messages_delivered_total[5m])",
)
QUEUE_DELIVERED_ACK = Metric(
    "rabbitmq_queue_messages_delivered_ack_total",
    ("vhost", "queue"),
    "Messages delivered to consumers that acknowledge by themselves",
    "rate(rabbitmq_queue_messages_delivered_ack_total[5m])",
)
QUEUE_ACKED = Metric(
    "rabbitmq_queue_messages_acked_total",
    ("vhost", "queue"),
    "Messages that consumers have acknowledged",
    "rate(rabbitmq_queue_messages_acked_total[5m])",
)
QUEUE_REDELIVERED = Metric(
    "rabbitmq_queue_messages_redelivered_total",
    ("vhost", "queue"),
    "Messages delivered once more",
    "increase(rabbitmq_queue_messages_redelivered_total[1h])",
)
IN_FLIGHT = Metric(
    "autoscaler_jobs_in_flight",
    ("queue",),
    "Jobs in the hands of workers that are alive",
    "autoscaler_jobs_in_flight",
)
STRANDED = Metric(
    "autoscaler_jobs_stranded",
    ("queue",),
    "Jobs in the hands of workers whose heartbeats have stopped",
    "autoscaler_jobs_stranded > 0",
)
WORKERS = Metric(
    "autoscaler_workers",
    ("queue", "state"),
    "Workers by state, each in one: starting, idle, busy, draining (also with a job still),"
    " unhealthy (silent, or by its own word)",
    'sum by (queue) (autoscaler_workers{state!="unhealthy"})',
)
WORKER_STATE = Metric(
    "autoscaler_worker_state",
    ("queue", "worker", "state", "node", "task", "slot"),
    "1 for the present state of each worker",
    'autoscaler_worker_state{state="busy"}',
)
WORKER_SINCE = Metric(
    "autoscaler_worker_state_since_seconds",
    ("queue", "worker"),
    "Unix time at which the worker's present state began",
    "time() - autoscaler_worker_state_since_seconds",
)
WORKER_SEEN = Metric(
    "autoscaler_worker_last_seen_seconds",
    ("queue", "worker"),
    "Unix time of the worker's last heartbeat, by the ledger's clock",
    "time() - autoscaler_worker_last_seen_seconds",
)
WORKER_PROGRESS = Metric(
    "autoscaler_worker_job_progress_ratio",
    ("queue", "worker"),
    "Progress, 0 to 1, of the job in the worker's hands; absent without a job",
    "autoscaler_worker_job_progress_ratio",
)
WORKER_JOB = Metric(
    "autoscaler_worker_job_info",
    ("queue", "worker", "job_id"),
    "1 for the job in the worker's hands; of each queue only the 100 that have taken longest",
    'autoscaler_worker_job_info{worker="w1"}',
)
JOBS_STARTED = Metric(
    "autoscaler_jobs_started_total",
    ("queue",),
    "First attempts at jobs that have begun",
    "rate(autoscaler_jobs_started_total[5m]) * 60",
)
JOBS_REDELIVERED = Metric(
    "autoscaler_jobs_redelivered_total",
    ("queue",),
    "Further attempts at jobs that have begun",
    "increase(autoscaler_jobs_redelivered_total[1h])",
)
JOBS_QUARANTINED = Metric(
    "autoscaler_jobs_quarantined_total",
    ("queue",),
    "Messages parked unread: nobody could handle them, or two workers ended while they had them",
    "increase(autoscaler_jobs_quarantined_total[1h])",
)
OUTCOMES_REFUSED = Metric(
    "autoscaler_outcomes_refused_total",
    ("queue",),
    "Times that an outcome of a job was refused by the queue that it was for",
    "increase(autoscaler_outcomes_refused_total[5m])",
)
JOBS = Metric(
    "autoscaler_jobs_total",
    ("queue", "outcome"),
    "Attempts that have ended, by outcome: done, retried, parked, requeued",
    'rate(autoscaler_jobs_total{outcome="done"}[5m]) * 60',
)
JOB_DURATION = Metric(
    "autoscaler_job_duration_seconds",
    ("queue",),
    "Time from the start of an attempt to the announcement of its result",
    "histogram_quantile(0.95,"
    " sum by (queue, le) (rate(autoscaler_job_duration_seconds_bucket[1h])))",
    histogram=True,
)
JOB_WAIT = Metric(
    "autoscaler_job_wait_seconds",
    ("queue",),
    "Time from publishing to the first start, where the message carries a timestamp",
    "histogram_quantile(0.95, sum by (queue, le) (rate(autoscaler_job_wait_seconds_bucket[1h])))",
    histogram=True,
)
WORKER_STARTUP = Metric(
    "autoscaler_worker_startup_seconds",
    ("queue",),
    "Time from a worker's process start to its consuming",
    "histogram_quantile(0.95,"
    " sum by (queue, le) (rate(autoscaler_worker_startup_seconds_bucket[1d])))",
    histogram=True,
)
LEDGER_UNUSED = Metric(
    "autoscaler_ledger_entries_unused",
    ("kind",),
    "Entries of the ledger that are left out of all metrics: worker, totals (both damaged),"
    " queue (of one name in several virtual hosts)",
    "autoscaler_ledger_entries_unused > 0",
)
SLO_JOBS = Metric(
    "autoscaler_slo_jobs_total",
    ("queue",),
    "Jobs begun whose waiting time is known: what the SLO is measured on",
    "increase(autoscaler_slo_jobs_total[1d])",
)
SLO_LATE = Metric(
    "autoscaler_slo_late_jobs_total",
    ("queue",),
    "Those of them that waited longer than autoscaler_slo_start_seconds",
    "increase(autoscaler_slo_late_jobs_total[1d]) / increase(autoscaler_slo_jobs_total[1d])",
)
SLO_SECONDS = Metric(
    "autoscaler_slo_start_seconds",
    (),
    "Jobs are to start within so many seconds of their publishing (slo.start_within_seconds)",
    "autoscaler_slo_start_seconds",
)
SLO_OBJECTIVE = Metric(
    "autoscaler_slo_objective_ratio",
    (),
    "The share of jobs that are to start in time (slo.objective)",
    "1 - autoscaler_slo_objective_ratio",
)
THRESHOLD = Metric(
    "autoscaler_alert_threshold",
    ("alert",),
    "The value that the operator has set for an alert (ALERT_THRESHOLDS_CONFIG_PATH)",
    "autoscaler_alert_threshold",
)
SOURCE_UP = Metric(
    "autoscaler_source_up",
    ("source",),
    "1 when the source answered at this scrape: amqp, ledger; where in use, management, listing;"
    " thresholds for the file",
    "autoscaler_source_up == 0",
)
SOURCE_DURATION = Metric(
    "autoscaler_source_duration_seconds",
    ("source",),
    "Time that the source took at this scrape",
    "max_over_time(autoscaler_source_duration_seconds[1h])",
)
EXPORTER_QUEUES = Metric(
    "autoscaler_exporter_queues",
    (),
    "Queues that the exporter is configured to read and knows of",
    "autoscaler_exporter_queues",
)
EXPORTER_DURATION = Metric(
    "autoscaler_exporter_scrape_duration_seconds",
    (),
    "Time that this scrape spent on reading all sources",
    "autoscaler_exporter_scrape_duration_seconds",
)
BUILD = Metric(
    "autoscaler_exporter_build_info",
    ("version", "python"),
    "Version of the exporter",
    "autoscaler_exporter_build_info",
)

METRICS: tuple[Metric, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
