"""Rules, runbooks, thresholds and catalogue say the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.catalog import METRICS
from exporter.thresholds import THRESHOLDS

ROOT = Path(__file__).parents[3]
SEVERITIES = {"critical", "warning", "info", "none"}
SERVICES = {"broker", "ledger", "queue", "workers", "scaler", "monitoring"}


def rules(name: str) -> list[dict[str, Any]]:
    content = yaml.safe_load((ROOT / f"prometheus/rules/{name}.yml").read_text())
    return [rule for group in content["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules("alerts")}
RECORDED = {rule["record"] for rule in rules("recording")}


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS.keys())
def test_an_alert_says_what_somebody_needs(alert: dict[str, Any]) -> None:
    name, labels, notes = alert["alert"], alert["labels"], alert["annotations"]
    assert labels["severity"] in SEVERITIES
    assert labels["service"] in SERVICES
    assert "{{" not in notes["summary"], "a summary is constant; numbers are the description's"
    assert notes["description"]
    assert notes["runbook_url"] == f"docs/runbooks/{name}.md"
    runbook = (ROOT / notes["runbook_url"]).read_text()
    for heading in (f"# {name}", "## What it means", "## How to see it", "## What to do"):
        assert heading in runbook


def test_there_is_no_runbook_of_nothing() -> None:
    assert {path.stem for path in (ROOT / "docs/runbooks").glob("*.md")} == set(ALERTS)


def test_thresholds_are_those_that_rules_compare_with() -> None:
    text = (ROOT / "prometheus/rules/alerts.yml").read_text()
    used = set(re.findall(r'autoscaler_alert_threshold\{alert="(\w+)"\}', text))
    assert used == {threshold.alert for threshold in THRESHOLDS}
    assert used <= set(ALERTS)


def test_every_alert_is_tested_both_ways() -> None:
    fires: set[str] = set()
    rests: set[str] = set()
    for path in (ROOT / "prometheus/tests").glob("alerts_*.yml"):
        for case in yaml.safe_load(path.read_text())["tests"]:
            for check in case["alert_rule_test"]:
                (fires if check["exp_alerts"] else rests).add(check["alertname"])
    assert fires == set(ALERTS)
    assert rests == set(ALERTS) - {"Watchdog"}


def test_rules_read_series_that_exist() -> None:
    ours = {metric.name for metric in METRICS}
    ours |= {f"{m.name}_{end}" for m in METRICS for end in ("bucket", "sum", "count")}
    scalers = {
        "autoscaler_at_max",
        "autoscaler_fleet_obstacle",
        "autoscaler_target_info",
        "autoscaler_target_replicas",
        "autoscaler_replicas",
        "autoscaler_signal_known",
        "autoscaler_scale_errors_total",
        "autoscaler_last_cycle_timestamp_seconds",
    }
    for rule in [*rules("alerts"), *rules("recording")]:
        expr = rule["expr"]
        named = set(re.findall(r"\b(?:autoscaler|rabbitmq_queue)_\w+", expr))
        assert named <= ours | scalers, rule
        assert set(re.findall(r"\bqueue:\w+:\w+", expr)) <= RECORDED, rule


def test_the_contract_names_the_recorded_series_that_the_scaler_reads() -> None:
    contract = (ROOT / "docs/contracts.md").read_text()
    for series in re.findall(r"`(queue:\w+:\w+)\{", contract):
        assert series in RECORDED
