"""The dashboards: as generated, and by the rules of grafana/dashboard-linter.

One rule is eased: recorded series (`level:metric:operations`) are sums over jobs and instances, so
they cannot be asked by job and instance; every scraped series must be.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from docs.queries import selectors
from exporter.catalog import METRICS
from grafana.build import DASHBOARDS, FOLDER, files, panel_queries
from grafana.spec import DashboardSpec

ROOT = Path(__file__).parents[3]
CONTENTS = {path.stem: json.loads(content) for path, content in files().items()}
Content = dict[str, Any]
EVERY = pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())


def panels(content: Content) -> list[Content]:
    return [panel for panel in content["panels"] if panel["type"] != "row"]


def expressions() -> list[tuple[str, str]]:
    """(where, PromQL with Grafana's variables in it) of every target and annotation."""
    found = []
    for name, content in CONTENTS.items():
        for panel in panels(content):
            found += [(f"{name}/{panel['title']}", t["expr"]) for t in panel["targets"]]
        found += [(f"{name}/{a['name']}", a["expr"]) for a in content["annotations"]["list"]]
    return found


def parsed(expr: str) -> Any:
    return promql_parser.parse(expr.replace("$__rate_interval", "1m"))


def test_generating_again_changes_nothing() -> None:
    kept = {path: path.read_text() for path in FOLDER.glob("*.json")}
    assert kept == files(), "run `make generate`"


@EVERY
def test_the_dashboard_cannot_be_edited_and_asks_as_often_as_planned(content: Content) -> None:
    assert content["editable"] is False
    assert content["refresh"] == "5s"
    assert content["description"]
    assert content["uid"]


@EVERY
def test_variables_are_those_that_every_query_is_bound_to(content: Content) -> None:
    variables = {variable["name"]: variable for variable in content["templating"]["list"]}
    source = variables["datasource"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    assert source["label"] == "Data source"
    for name in ("job", "instance", "queue", "target"):
        variable = variables[name]
        assert variable["type"] == "query"
        assert variable["label"] == name.capitalize()
        assert variable["multi"] is True
        assert variable["includeAll"] is True
        assert variable["allValue"] == ".+"
        assert variable["datasource"] == {"type": "prometheus", "uid": "$datasource"}
        assert variable["refresh"] == 2  # when the time range changes
        assert promql_parser.parse(label_values(variable["query"]))


def label_values(query: str) -> str:
    """The selector in `label_values(selector, label)`."""
    match = re.fullmatch(r"label_values\((.+), \w+\)", query)
    assert match
    return match[1]


@EVERY
def test_every_panel_says_what_it_shows(content: Content) -> None:
    titles = [panel["title"] for panel in panels(content)]
    assert len(set(titles)) == len(titles)
    assert len({panel["id"] for panel in content["panels"]}) == len(content["panels"])
    for panel in panels(content):
        assert panel["title"]
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "$datasource"}
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]
            assert target["legendFormat"]


@EVERY
def test_panels_do_not_overlap_and_fit_the_grid(content: Content) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in content["panels"]:
        pos = panel["gridPos"]
        assert pos["x"] + pos["w"] <= 24
        cells = {
            (x, y)
            for x in range(pos["x"], pos["x"] + pos["w"])
            for y in range(pos["y"], pos["y"] + pos["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize(("where", "expr"), expressions())
def test_every_query_is_valid_and_bound(where: str, expr: str) -> None:
    found = list(selectors(parsed(expr)))
    assert found
    for selector in found:
        if ":" in selector.name:
            continue
        matchers = {(m.name, m.value) for m in selector.matchers.matchers}
        assert ("job", "$job") in matchers
        assert ("instance", "$instance") in matchers


@pytest.mark.parametrize(("where", "expr"), expressions())
def test_rates_are_over_the_rate_interval_or_a_fixed_hour_or_day(where: str, expr: str) -> None:
    for function, window in re.findall(r"(rate|increase|changes)\([^][]*\[([^]]+)\]", expr):
        allowed = ("$__rate_interval",) if function == "rate" else ("$__rate_interval", "1h", "1d")
        assert window in allowed


@pytest.mark.parametrize(("where", "expr"), expressions())
def test_counters_are_asked_as_rates(where: str, expr: str) -> None:
    for name in re.findall(r"\w+_total(?=\{)", expr):
        assert re.search(rf"(rate|increase|changes)\({name}\{{[^}}]*\}}\[", expr), name


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=[each.uid for each in DASHBOARDS])
def test_links_of_runbooks_lead_somewhere(dashboard: DashboardSpec) -> None:
    runbooks = [panel.runbook for panel in dashboard.panels if panel.runbook]
    assert runbooks
    for name in runbooks:
        assert (ROOT / f"docs/runbooks/{name}.md").is_file(), f"a panel names no runbook: {name}"


def test_every_series_exists_somewhere() -> None:
    rules = yaml.safe_load((ROOT / "prometheus/rules/recording.yml").read_text())
    recorded = {rule["record"] for group in rules["groups"] for rule in group["rules"]}
    ours = {metric.name for metric in METRICS}
    for _, expr in expressions():
        for selector in selectors(parsed(expr)):
            if ":" in selector.name:
                assert selector.name in recorded
            elif selector.name.startswith("rabbitmq_queue"):
                assert selector.name in ours


def test_no_variable_is_left_in_the_queries_to_ask() -> None:
    queries = list(panel_queries({"queue": "video-queue"}))
    assert len(queries) >= 50
    for query in queries:
        assert "$" not in query.expr
        assert promql_parser.parse(query.expr)
    empty = [query for query in queries if query.may_be_empty]
    assert len(empty) < len(queries) / 5


def test_provisioning_is_read_only_and_points_at_the_data_source() -> None:
    folder = ROOT / "grafana/provisioning"
    (provider,) = yaml.safe_load((folder / "dashboards/autoscaler.yml").read_text())["providers"]
    assert provider["allowUiUpdates"] is False
    assert provider["disableDeletion"] is True
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["editable"] is False
    assert source["type"] == "prometheus"
