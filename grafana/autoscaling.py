"""Is it keeping up, and why is the fleet as large as it is?"""

from __future__ import annotations

from exporter.thresholds import DEFAULTS
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

_RUNNING = 'state="running"'

_KEEPING_UP = Row(
    "Is it keeping up?",
    (
        Panel(
            "Oldest job",
            "How long the job at the head of the queue has waited. Above the objective, people"
            " notice.",
            "s",
            (Query(recorded("queue:oldest_job_age_seconds:max"), "{{queue}}"),),
            PanelKind.NUMBER,
            warn_at=60,
            bad_at=DEFAULTS["JobsAgeAtMaximum"],
            runbook="JobsAgeAtMaximum",
            width=6,
        ),
        Panel(
            "Waiting",
            "Jobs ready in the queue, true at the latest scrape.",
            "short",
            (Query(recorded("queue:jobs_waiting:max"), "{{queue}}"),),
            PanelKind.NUMBER,
            warn_at=20,
            bad_at=DEFAULTS["QueueDepthHigh"],
            runbook="QueueDepthHigh",
            width=6,
        ),
        Panel(
            "In progress",
            "Jobs in the hands of workers that are alive.",
            "short",
            (Query(recorded("queue:jobs_in_flight:max"), "{{queue}}"),),
            PanelKind.NUMBER,
            width=6,
        ),
        Panel(
            "Drained in",
            "How long today's fleet takes for all that waits or is in progress, should nothing"
            " more come.",
            "s",
            (Query(recorded("queue:jobs_demand:drain_seconds"), "{{queue}}"),),
            PanelKind.NUMBER,
            warn_at=600,
            bad_at=1800,
            width=6,
        ),
        Panel(
            "Backlog and fleet",
            "Demand beside the workers that are wanted and those that run. The target follows"
            " demand up at once and down after the idle time.",
            "short",
            (
                Query(recorded("queue:jobs_waiting:max"), "waiting in {{queue}}"),
                Query(recorded("queue:jobs_in_flight:max"), "in progress of {{queue}}"),
                Query(
                    f"max by (target) ({of_target('autoscaler_target_replicas')})",
                    "wanted for {{target}}",
                ),
                Query(
                    f"max by (target) ({of_target('autoscaler_replicas', _RUNNING)})",
                    "running of {{target}}",
                ),
            ),
            runbook="TargetNotReached",
        ),
        Panel(
            "Wait before the start",
            "Time from sending a job to its start over the last hour, for half of the jobs and for"
            " 95 of 100. Needs messages with a timestamp.",
            "s",
            (
                Query(recorded("queue:job_wait_seconds:p50_1h"), "half of {{queue}}"),
                Query(recorded("queue:job_wait_seconds:p95_1h"), "95 % of {{queue}}"),
                Query(
                    f"max({raw('autoscaler_slo_start_seconds')})",
                    "objective",
                ),
            ),
            runbook="JobStartSloSlowBurn",
        ),
    ),
)

_DECISION = Row(
    "What was decided, and why?",
    (
        Panel(
            "From wish to fleet",
            "The numbers on the way to the decision: raw, stabilised, then bounded and applied as"
            " the target, and what runs.",
            "short",
            (
                Query(
                    f"max by (target, proposal) ({of_target('autoscaler_proposal_replicas')})",
                    "{{target}}: {{proposal}}",
                ),
                Query(
                    f"max by (target) ({of_target('autoscaler_target_replicas')})",
                    "{{target}}: applied",
                ),
                Query(
                    f"max by (target) ({of_target('autoscaler_replicas', _RUNNING)})",
                    "{{target}}: running",
                ),
            ),
        ),
        Panel(
            "Bounds",
            "The minimum and maximum in force, schedules included, beside the target.",
            "short",
            (
                Query(
                    f"max by (target) ({of_target('autoscaler_target_min_replicas')})",
                    "{{target}}: minimum",
                ),
                Query(
                    f"max by (target) ({of_target('autoscaler_target_replicas')})",
                    "{{target}}: target",
                ),
                Query(
                    f"max by (target) ({of_target('autoscaler_target_max_replicas')})",
                    "{{target}}: maximum",
                ),
            ),
            runbook="JobsAgeAtMaximum",
        ),
        Panel(
            "Reason",
            "What each decision did and which limit bound it. The full sentence is on the scaler's"
            " status page.",
            "bool_yes_no",
            (
                Query(
                    f"max by (target, action, bound) ({of_target('autoscaler_decision')})",
                    "{{target}}: {{action}} {{bound}}",
                ),
            ),
            PanelKind.STATES,
            runbook="ScalingFlapping",
        ),
        Panel(
            "What the scaler knows",
            "Every signal that a decision reads: known, or not. Without demand the target is held.",
            "bool_yes_no",
            (
                Query(
                    f"min by (target, signal) ({of_target('autoscaler_signal_known')})",
                    "{{target}}: {{signal}}",
                ),
            ),
            PanelKind.STATES,
            runbook="ScalerBlind",
        ),
    ),
)

_OBJECTIVE = Row(
    "The objective",
    (
        Panel(
            "Jobs that started late",
            "Share of jobs that started later than the objective says, over an hour and over six.",
            "percentunit",
            (
                Query(recorded("queue:jobs_late:ratio1h"), "{{queue}}, 1 h"),
                Query(recorded("queue:jobs_late:ratio6h"), "{{queue}}, 6 h"),
                Query(
                    f"1 - max({raw('autoscaler_slo_objective_ratio')})",
                    "allowed",
                ),
            ),
            runbook="JobStartSloFastBurn",
        ),
        Panel(
            "Demand and what was expected",
            "Ten-minute mean of demand beside the same hour of yesterday and of last week.",
            "short",
            (
                Query(recorded("queue:jobs_demand:avg10m"), "{{queue}}: now"),
                Query(
                    recorded("queue:jobs_demand:forecast"),
                    "{{queue}}: expected",
                    "until there is a day of history",
                ),
            ),
        ),
        Panel(
            "Arrivals",
            "Jobs a minute that come in, over five and ten minutes.",
            "short",
            (
                Query(f"{recorded('queue:job_arrivals:rate5m')} * 60", "{{queue}}, 5 min"),
                Query(f"{recorded('queue:job_arrivals:rate10m')} * 60", "{{queue}}, 10 min"),
            ),
        ),
        Panel(
            "Jobs in doubtful hands",
            "Jobs of workers that have fallen silent, and jobs parked for a person.",
            "short",
            (
                Query(
                    f"max by (queue) ({of_queue('autoscaler_jobs_stranded')})",
                    "silent: {{queue}}",
                ),
                Query(
                    f"max by (queue) ({of_queue('autoscaler_jobs_parked')})",
                    "parked: {{queue}}",
                    "until a job is parked for the first time there is no place for it",
                ),
            ),
            warn_at=1,
            runbook="HeartbeatsLost",
        ),
    ),
)

DASHBOARD = DashboardSpec(
    "autoscaling",
    "Autoscaling",
    "Is it keeping up, and why is the fleet as large as it is?",
    (_KEEPING_UP, _DECISION, _OBJECTIVE),
)
