"""What comes in, how long it takes, and what fails?"""

from __future__ import annotations

from exporter.thresholds import DEFAULTS
from grafana.spec import DashboardSpec, Panel, PanelKind, Query, Row, of_queue, recorded

_EXPORTER = 'job="exporter"'
_DONE = 'outcome="done"'

_QUEUE = Row(
    "What comes in?",
    (
        Panel(
            "Depth",
            "Ready messages by passive declare: true at the scrape, where the broker's own metrics"
            " are seconds old.",
            "short",
            (
                Query(
                    "max by (vhost, queue)"
                    f" ({of_queue('rabbitmq_queue_messages_ready', _EXPORTER)})",
                    "{{queue}} in {{vhost}}",
                ),
            ),
            warn_at=DEFAULTS["QueueDepthHigh"],
            runbook="QueueDepthHigh",
        ),
        Panel(
            "Consumers",
            "Who takes jobs from the queue. None, with jobs waiting, is an alarm.",
            "short",
            (
                Query(
                    f"max by (vhost, queue) ({of_queue('rabbitmq_queue_consumers', _EXPORTER)})",
                    "{{queue}} in {{vhost}}",
                ),
            ),
            runbook="NoConsumers",
        ),
        Panel(
            "Arrivals and throughput",
            "Jobs a minute that come in and that are done. Apart for long, the queue grows.",
            "short",
            (
                Query(f"{recorded('queue:job_arrivals:rate5m')} * 60", "come in: {{queue}}"),
                Query(f"{recorded('queue:jobs_done:rate5m')} * 60", "done: {{queue}}"),
            ),
        ),
        Panel(
            "Burstiness",
            "Variance over mean of the arrivals per minute: 1 is an even stream, 30 and more a"
            " flood at a time. The scaler keeps more headroom where it is high.",
            "short",
            (Query(recorded("queue:job_arrivals:dispersion10m"), "{{queue}}"),),
        ),
        Panel(
            "Delivered and not acknowledged",
            "By the management API, seconds old: about as many as there are jobs in progress.",
            "short",
            (
                Query(
                    f"max by (vhost, queue) ({of_queue('rabbitmq_queue_messages_unacked')})",
                    "{{queue}} in {{vhost}}",
                    "only where MANAGEMENT_URL is set",
                ),
            ),
        ),
        Panel(
            "Delivered again",
            "Messages a minute that the broker delivers once more: workers that died or gave a job"
            " back.",
            "short",
            (
                Query(
                    "sum by (queue) (rate("
                    f"{of_queue('rabbitmq_queue_messages_redelivered_total')}"
                    "[$__rate_interval])) * 60",
                    "by the broker: {{queue}}",
                    "only where MANAGEMENT_URL is set and a message was delivered again",
                ),
                Query(
                    "max by (queue) (rate("
                    f"{of_queue('autoscaler_jobs_redelivered_total')}[$__rate_interval])) * 60",
                    "by the ledger: {{queue}}",
                ),
            ),
            runbook="HeartbeatsLost",
        ),
        Panel(
            "Refused and quarantined",
            "A minute: outcomes that their queue did not take, which wait with their workers; and"
            " messages parked unread.",
            "short",
            (
                Query(
                    "max by (queue) (rate("
                    f"{of_queue('autoscaler_outcomes_refused_total')}[$__rate_interval])) * 60",
                    "refused: {{queue}}",
                ),
                Query(
                    "max by (queue) (rate("
                    f"{of_queue('autoscaler_jobs_quarantined_total')}[$__rate_interval])) * 60",
                    "quarantined: {{queue}}",
                ),
            ),
            runbook="OutcomesRefused",
        ),
    ),
)

_JOBS = Row(
    "How long do jobs take, and what fails?",
    (
        Panel(
            "Time of a job",
            "From start to announcement over the last hour: half of the jobs, 95 of 100, and the"
            " mean that the scaler reckons with.",
            "s",
            (
                Query(recorded("queue:job_duration_seconds:p50_1h"), "half of {{queue}}"),
                Query(recorded("queue:job_duration_seconds:p95_1h"), "95 % of {{queue}}"),
                Query(recorded("queue:job_duration_seconds:mean1h"), "mean of {{queue}}"),
            ),
            warn_at=DEFAULTS["ProcessingTimeHigh"],
            runbook="ProcessingTimeHigh",
        ),
        Panel(
            "Distribution of job times",
            "How many jobs of the last hour took no longer than each bound.",
            "short",
            (
                Query(
                    "max by (queue, le) (increase("
                    f"{of_queue('autoscaler_job_duration_seconds_bucket')}[1h]))",
                    "{{queue}} up to {{le}} s",
                ),
            ),
        ),
        Panel(
            "Attempts by outcome",
            "Attempts a minute: done, retried, parked, or given back by a worker that leaves.",
            "short",
            (
                Query(
                    "max by (queue, outcome) (rate("
                    f"{of_queue('autoscaler_jobs_total')}[$__rate_interval])) * 60",
                    "{{outcome}}: {{queue}}",
                ),
            ),
            PanelKind.STACKED,
        ),
        Panel(
            "Failures",
            "Share of the attempts of a quarter of an hour that failed.",
            "percentunit",
            (Query(recorded("queue:job_failures:ratio15m"), "{{queue}}"),),
            warn_at=DEFAULTS["WorkerFailureRateHigh"],
            runbook="WorkerFailureRateHigh",
        ),
        Panel(
            "Parked",
            "Jobs that failed for good and wait for a person.",
            "short",
            (
                Query(
                    f"max by (queue) ({of_queue('autoscaler_jobs_parked')})",
                    "{{queue}}",
                    "until a job is parked for the first time there is no place for it",
                ),
            ),
            PanelKind.NUMBER,
            warn_at=1,
            runbook="JobsParked",
        ),
        Panel(
            "Done today",
            "Jobs done within the last 24 hours.",
            "short",
            (
                Query(
                    f"max by (queue) (increase({of_queue('autoscaler_jobs_total', _DONE)}[1d]))",
                    "{{queue}}",
                ),
            ),
            PanelKind.NUMBER,
        ),
    ),
)

DASHBOARD = DashboardSpec(
    "autoscaling-jobs",
    "Queue and jobs",
    "What comes in, how long does it take, and what fails?",
    (_QUEUE, _JOBS),
)
