"""Who works, on what, how fast do workers start, and what do they use?"""

from __future__ import annotations

from grafana.spec import (
    DashboardSpec,
    Panel,
    PanelKind,
    Query,
    Row,
    of_queue,
    of_target,
    raw,
    recorded,
)

_WORKER = 'job="worker"'

_WORKERS = Row(
    "Who works?",
    (
        Panel(
            "Workers by state",
            "By the ledger; each counts once. Draining ones take no further job.",
            "short",
            (
                Query(
                    f"max by (queue, state) ({of_queue('autoscaler_workers')})",
                    "{{state}}: {{queue}}",
                ),
            ),
            PanelKind.STACKED,
            runbook="WorkersUnhealthy",
        ),
        Panel(
            "Workers by the orchestrator",
            "What it counts: running, starting, draining, and slots whose worker has left.",
            "short",
            (
                Query(
                    f"max by (target, state) ({of_target('autoscaler_replicas')})",
                    "{{state}}: {{target}}",
                ),
            ),
            runbook="TargetNotReached",
        ),
        Panel(
            "What keeps workers from running",
            "1 while workers that were asked for can't run for that reason.",
            "bool_yes_no",
            (
                Query(
                    f"max by (target, kind) ({of_target('autoscaler_fleet_obstacle')})",
                    "{{target}}: {{kind}}",
                ),
            ),
            PanelKind.STATES,
            runbook="WorkersNotStarting",
        ),
        Panel(
            "Each worker",
            "The state of each worker over time.",
            "bool_yes_no",
            (
                Query(
                    f"max by (worker, state) ({of_queue('autoscaler_worker_state')})",
                    "{{worker}}: {{state}}",
                ),
            ),
            PanelKind.STATES,
        ),
        Panel(
            "Progress of jobs",
            "How far each worker is with the job in its hands.",
            "percentunit",
            (
                Query(
                    f"max by (worker) ({of_queue('autoscaler_worker_job_progress_ratio')})",
                    "{{worker}}",
                    "while nobody has a job",
                ),
            ),
        ),
        Panel(
            "Saturation",
            "Share of the workers that have a job. 1 means that a job more must wait.",
            "percentunit",
            (Query(recorded("queue:workers:saturation"), "{{queue}}"),),
        ),
        Panel(
            "Last seen",
            "Time since each worker's last heartbeat. Unhealthy after three.",
            "s",
            (
                Query(
                    f"time() - max by (worker) ({of_queue('autoscaler_worker_last_seen_seconds')})",
                    "{{worker}}",
                ),
            ),
            warn_at=30,
            runbook="HeartbeatsLost",
        ),
    ),
)

_COST = Row(
    "How fast do they start, and what do they use?",
    (
        Panel(
            "Start of a worker",
            "From process start to consuming: the mean that the scaler reckons with.",
            "s",
            (Query(recorded("queue:worker_startup_seconds:mean1h"), "{{queue}}"),),
        ),
        Panel(
            "Starts",
            "Workers that began to consume, per hour.",
            "short",
            (
                Query(
                    "max by (queue) (increase("
                    f"{of_queue('autoscaler_worker_startup_seconds_count')}[1h]))",
                    "{{queue}}",
                ),
            ),
        ),
        Panel(
            "CPU",
            "Cores that each worker and its renderer use.",
            "short",
            (
                Query(
                    "sum by (worker, process) (rate("
                    f"{of_queue('autoscaler_worker_cpu_seconds_total')}[$__rate_interval]))",
                    "{{worker}}: {{process}}",
                ),
            ),
            runbook="ProcessingTimeHigh",
        ),
        Panel(
            "Memory",
            "Resident memory of each worker and its renderer.",
            "bytes",
            (
                Query(
                    "sum by (worker, process)"
                    f" ({of_queue('autoscaler_worker_resident_memory_bytes')})",
                    "{{worker}}: {{process}}",
                ),
            ),
            runbook="HeartbeatsLost",
        ),
        Panel(
            "Workers scraped",
            "Workers that Prometheus has found through the ledger and scrapes.",
            "short",
            (Query(f"sum({raw('up', _WORKER)})", "workers"),),
            PanelKind.NUMBER,
        ),
    ),
)

DASHBOARD = DashboardSpec(
    "autoscaling-fleet",
    "Fleet",
    "Who works, on what, how fast do workers start, and what do they use?",
    (_WORKERS, _COST),
)
