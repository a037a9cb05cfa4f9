"""Are the exporter, the scaler and their sources well?"""

from __future__ import annotations

from exporter.thresholds import DEFAULTS
from grafana.spec import DashboardSpec, Panel, PanelKind, Query, Row, of_target, raw

_OTHERS = 'job!="worker"'
_OURS = 'job=~"exporter|scaler"'

_SCALER = Row(
    "The scaler",
    (
        Panel(
            "Last cycle",
            "Time since the loop ended a cycle.",
            "s",
            (
                Query(
                    f"time() - max({raw('autoscaler_last_cycle_timestamp_seconds')})",
                    "age",
                ),
            ),
            PanelKind.NUMBER,
            warn_at=30,
            bad_at=DEFAULTS["ScalerUnresponsive"],
            runbook="ScalerUnresponsive",
            width=6,
        ),
        Panel(
            "Signals unknown",
            "Signals that the scaler does not know right now.",
            "short",
            (
                Query(
                    f"sum by (target) (1 - {of_target('autoscaler_signal_known')})",
                    "{{target}}",
                ),
            ),
            PanelKind.NUMBER,
            warn_at=1,
            runbook="ScalerBlind",
            width=6,
        ),
        Panel(
            "Age of signals",
            "How old the samples are that decisions are made from.",
            "s",
            (
                Query(
                    f"max by (target, signal) ({of_target('autoscaler_signal_age_seconds')})",
                    "{{target}}: {{signal}}",
                ),
            ),
            warn_at=20,
        ),
        Panel(
            "Decisions",
            "Decisions a minute by what they do.",
            "short",
            (
                Query(
                    "sum by (target, action) (rate("
                    f"{of_target('autoscaler_decisions_total')}[$__rate_interval])) * 60",
                    "{{target}}: {{action}}",
                ),
            ),
            PanelKind.STACKED,
            runbook="ScalingFlapping",
        ),
        Panel(
            "Decisions that failed",
            "Decisions that could not be applied, per hour.",
            "short",
            (
                Query(
                    f"sum by (target) (increase({of_target('autoscaler_scale_errors_total')}[1h]))",
                    "{{target}}",
                    "until a decision fails for the first time",
                ),
            ),
            warn_at=1,
            runbook="ScalingFailing",
        ),
        Panel(
            "Time of a cycle",
            "How long the loop takes to observe, decide and apply.",
            "s",
            (Query(f"max({raw('autoscaler_cycle_duration_seconds')})", "cycle"),),
        ),
    ),
)

_SOURCES = Row(
    "The exporter and its sources",
    (
        Panel(
            "Sources",
            "Which sources answered at each scrape.",
            "bool_on_off",
            (Query(f"max by (source) ({raw('autoscaler_source_up')})", "{{source}}"),),
            PanelKind.STATES,
            runbook="SourceDown",
        ),
        Panel(
            "Time of sources",
            "How long each source took.",
            "s",
            (
                Query(
                    f"max by (source) ({raw('autoscaler_source_duration_seconds')})",
                    "{{source}}",
                ),
            ),
        ),
        Panel(
            "Scrapes",
            "Whether Prometheus could scrape each part.",
            "bool_on_off",
            (Query(f"min by (job) ({raw('up', _OTHERS)})", "{{job}}"),),
            PanelKind.STATES,
            runbook="ScrapeTargetDown",
        ),
        Panel(
            "Time of the exporter's scrape",
            "How long reading all sources took.",
            "s",
            (
                Query(
                    f"max by (instance) ({raw('autoscaler_exporter_scrape_duration_seconds')})",
                    "{{instance}}",
                ),
            ),
            runbook="ExporterDown",
        ),
        Panel(
            "CPU of the programs",
            "Cores used by exporter and scaler.",
            "short",
            (
                Query(
                    "sum by (job) (rate("
                    f"{raw('process_cpu_seconds_total', _OURS)}"
                    "[$__rate_interval]))",
                    "{{job}}",
                ),
            ),
        ),
        Panel(
            "Memory of the programs",
            "Resident memory of exporter and scaler.",
            "bytes",
            (
                Query(
                    f"sum by (job) ({raw('process_resident_memory_bytes', _OURS)})",
                    "{{job}}",
                ),
            ),
        ),
        Panel(
            "Broker alarms",
            "RabbitMQ's resource alarms: with one on, publishers are blocked.",
            "bool_on_off",
            (
                Query(
                    f"max({raw('rabbitmq_alarms_memory_used_watermark')})",
                    "memory",
                ),
                Query(
                    f"max({raw('rabbitmq_alarms_free_disk_space_watermark')})",
                    "disk",
                ),
            ),
            PanelKind.STATES,
            runbook="BrokerAlarm",
        ),
        Panel(
            "Rules",
            "How long each group of rules took at its last evaluation.",
            "s",
            (
                Query(
                    f"max by (rule_group) ({raw('prometheus_rule_group_last_duration_seconds')})",
                    "{{rule_group}}",
                ),
            ),
        ),
    ),
)

DASHBOARD = DashboardSpec(
    "autoscaling-itself",
    "The autoscaler itself",
    "Are the exporter, the scaler and their sources well?",
    (_SCALER, _SOURCES),
)
