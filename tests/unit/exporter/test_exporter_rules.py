"""Rules, their tests, runbooks and thresholds say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.queries import names_in
from exporter.thresholds import DEFAULTS

ROOT = Path(__file__).parents[3]
SEVERITIES = {"critical", "warning", "info", "none"}
SERVICES = {"broker", "ledger", "queue", "workers", "scaler", "monitoring"}


def rules(name: str) -> list[dict[str, Any]]:
    content = yaml.safe_load((ROOT / f"prometheus/rules/{name}.yml").read_text())
    return [rule for group in content["groups"] for rule in group["rules"]]


def promtool_cases() -> Iterator[dict[str, Any]]:
    """Every case of promtool's tests, as text: to YAML the series `0x20` is a number."""
    for path in sorted((ROOT / "prometheus/tests").glob("*.yml")):
        yield from yaml.load(path.read_text(), Loader=yaml.BaseLoader)["tests"]  # noqa: S506


ALERTS = {rule["alert"]: rule for rule in rules("alerts")}
CASES = list(promtool_cases())
RECORDED = {rule["record"] for rule in rules("recording")}


def runbook(alert: str) -> str:
    path = ROOT / f"docs/runbooks/{alert}.md"
    assert path.is_file(), f"{alert} needs docs/runbooks/{alert}.md"
    return path.read_text()


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS.keys())
def test_an_alert_says_what_somebody_needs(alert: dict[str, Any]) -> None:
    name, labels, notes = alert["alert"], alert["labels"], alert["annotations"]
    assert labels["severity"] in SEVERITIES
    assert labels["service"] in SERVICES
    assert "{{" not in notes["summary"], "a summary is constant; numbers are the description's"
    assert notes["description"]
    assert notes["runbook_url"] == f"docs/runbooks/{name}.md"
    for heading in (f"# {name}", "## What it means", "## How to see it", "## What to do"):
        assert heading in runbook(name)


def test_there_is_no_runbook_of_nothing() -> None:
    kept = {path.stem for path in (ROOT / "docs/runbooks").glob("*.md")}
    assert kept == set(ALERTS), "docs/runbooks has one page for each alert, and no other"


def test_thresholds_are_those_that_rules_compare_with() -> None:
    text = (ROOT / "prometheus/rules/alerts.yml").read_text()
    used = set(re.findall(r'autoscaler_alert_threshold\{alert="(\w+)"\}', text))
    assert used == set(DEFAULTS), (
        "alerts.yml is to compare with each of THRESHOLDS in exporter/thresholds.py, and no other,"
        ' as autoscaler_alert_threshold{alert="…"} with these quotes'
    )
    assert used <= set(ALERTS)


@pytest.mark.parametrize("alert", DEFAULTS)
def test_a_runbook_names_the_threshold_with_its_default(alert: str) -> None:
    found = re.search(rf"`thresholds\.{alert}`, ([\d.]+)( %)?(?: \w+)? unless set", runbook(alert))
    default = DEFAULTS[alert]
    says = f"docs/runbooks/{alert}.md: write `thresholds.{alert}`, {default:g} … unless set"
    assert found, says
    assert float(found[1]) / (100 if found[2] else 1) == pytest.approx(default), says


@pytest.mark.parametrize("alert", DEFAULTS)
def test_an_alert_is_tested_at_its_default(alert: str) -> None:
    """Once above it and once not, so that a changed default is tried."""
    outcomes = {
        bool(check["exp_alerts"])
        for case in CASES
        for check in case.get("alert_rule_test", ())
        if check["alertname"] == alert and threshold_in(case, alert) == DEFAULTS[alert]
    }
    assert outcomes == {True, False}, (
        f"prometheus/tests: let {alert} fire and not fire with its threshold {DEFAULTS[alert]:g}"
    )


def threshold_in(case: dict[str, Any], alert: str) -> float | None:
    for series in case["input_series"]:
        if series["series"].startswith("autoscaler_alert_threshold") and alert in series["series"]:
            return float(series["values"].partition("x")[0])
    return None


def test_every_alert_is_tested_both_ways() -> None:
    checks = [check for case in CASES for check in case.get("alert_rule_test", ())]
    fires = {check["alertname"] for check in checks if check["exp_alerts"]}
    rests = {check["alertname"] for check in checks if not check["exp_alerts"]}
    assert fires == set(ALERTS), "prometheus/tests/alerts_*.yml: let each alert fire once"
    expected = set(ALERTS) - {"Watchdog"}
    assert rests == expected, "prometheus/tests/alerts_*.yml: let each alert not fire once"


def test_every_recorded_series_has_a_value_in_a_test() -> None:
    checks = [check for case in CASES for check in case.get("promql_expr_test", ())]
    tested = {name for check in checks if check["exp_samples"] for name in names_in(check["expr"])}
    assert RECORDED - tested == set(), "give each a promql_expr_test in prometheus/tests"


def test_every_group_is_named_in_every_test() -> None:
    """promtool evaluates groups in the order that the test gives; one left out is not tested."""
    groups = {
        name: [group["name"] for group in yaml.safe_load(path.read_text())["groups"]]
        for path in (ROOT / "prometheus/rules").glob("*.yml")
        for name in [f"../rules/{path.name}"]
    }
    for path in (ROOT / "prometheus/tests").glob("*.yml"):
        content = yaml.safe_load(path.read_text())
        read = [group for name in content["rule_files"] for group in groups[name]]
        assert content["group_eval_order"] == read, f"{path.name}: group_eval_order"
