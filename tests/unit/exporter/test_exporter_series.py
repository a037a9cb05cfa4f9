"""Every series that is asked for exists, wherever it is asked for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from docs.metrics_page import MetricRow, sections
from docs.queries import OTHERS, ROOT, all_queries, literals, names_in, series_of

ROWS = [row for rows in sections().values() for row in rows]
KNOWN = {series for row in ROWS for series in row.series}
QUERIES = list(all_queries())
PAGES = sorted(
    [*ROOT.glob("*.md"), *(p for p in ROOT.glob("docs/**/*.md") if "adr" not in p.parts)]
)
SETTINGS = sorted(
    {*ROOT.glob("*.yml"), *ROOT.glob("deploy/**/*.y*ml"), *ROOT.glob("scaler/web/static/*")}
)


def faults(where: str, names: Iterable[str]) -> list[str]:
    """What to do about each of `names` that is no series."""
    return [
        f"{where} asks for {name}, which nothing gives; like it:"
        f" {difflib.get_close_matches(name, KNOWN, 1)}. Correct the name, define the metric"
        " (CONTRIBUTING.md, To add a metric), or, where another program gives it, add it to"
        " OTHERS in docs/queries.py"
        for name in sorted(names)
        if name not in KNOWN and not any(re.fullmatch(other, name) for other in OTHERS)
    ]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def modules(*programs: str, define: bool) -> list[Path]:
    """Modules that define metrics, or those that may ask for them."""
    paths = [path for program in programs for path in ROOT.glob(f"{program}/**/*.py")]
    return [path for path in paths if ("prometheus_client" in path.read_text()) == define]


@pytest.mark.parametrize("by", sorted({query.by for query in QUERIES}))
def test_every_query_asks_for_series_that_exist(by: str) -> None:
    found = [query for query in QUERIES if query.by == by]
    assert found
    assert [
        fault for query in found for fault in faults(f"{by}: {query.where}", series_of(query.expr))
    ] == []


def test_all_askers_are_there() -> None:
    assert {query.by for query in QUERIES} == {
        "scaler",
        "status page",
        "external scaler",
        "simulator",
        "demo",
        "rules",
        "dashboards",
    }


@pytest.mark.parametrize(
    "expr",
    [
        "autoscaler_jobs_parkedd > 0",
        "max by (queue) (rate(autoscaler_jobs_startd_total[5m]))",
        "queue:jobs_waiting:max and on () autoscaler_job_duration_seconds",
        "quantile_over_time(0.9, queue:jobs_waitin:max[1h])",
        "topk(scalar(autoscaler_nothing), vector(1))",
        '{__name__=~"rabbitmq_alarm_.+"}',
    ],
)
def test_a_misspelt_series_is_found_wherever_it_stands(expr: str) -> None:
    (fault,) = faults("a panel", series_of(expr))
    assert "CONTRIBUTING.md" in fault


def test_no_other_is_listed_that_nobody_asks_for() -> None:
    asked = {name for query in QUERIES for name in series_of(query.expr)}
    assert [other for other in OTHERS if not any(re.fullmatch(other, name) for name in asked)] == []


@pytest.mark.parametrize("path", modules("scaler", define=False), ids=name_of)
def test_every_query_of_the_scaler_is_known(path: Path) -> None:
    ours = {"scaler", "status page", "external scaler", "simulator"}
    asked = {name for each in QUERIES if each.by in ours for name in series_of(each.expr)}
    named = {name for text in literals(path) for name in names_in(text)}
    assert named <= asked, f"add the query of {path.name} to all_queries in docs/queries.py"


@pytest.mark.parametrize(
    "path", modules("common", "exporter", "scaler", "worker", define=True), ids=name_of
)
def test_every_metric_that_is_defined_is_on_the_page(path: Path) -> None:
    shown = {re.sub("_(total|info)$", "", row.name) for row in ROWS}
    for text in literals(path):
        if re.fullmatch(r"(autoscaler|grpc_server|rabbitmq_queue)_[a-z_]+", text):
            name = re.sub("_(total|info)$", "", text)
            assert name in shown, f"add the metrics of {path.name} to docs/metrics_page.sections"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_metric_has_a_meaning_and_an_example_of_its_own(row: MetricRow) -> None:
    assert len(row.meaning) > 5, f"{row.name} needs a meaning"
    assert series_of(row.example) & set(row.series)
    assert faults(f"the example of {row.name}", series_of(row.example)) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_queries_of_a_page_ask_for_series_that_exist(page: Path) -> None:
    text = page.read_text()
    for block in re.findall(r"```promql\n(.*?)```", text, re.DOTALL):
        for line in filter(None, block.splitlines()):
            assert faults(page.name, series_of(line)) == []


@pytest.mark.parametrize("path", [*PAGES, *SETTINGS], ids=name_of)
def test_a_page_or_a_setting_names_only_what_exists(path: Path) -> None:
    for name in names_in(path.read_text()):
        # `autoscaler_keda_*` and histograms go by the beginning of their names.
        if not any(series.startswith(name) for series in KNOWN):
            assert faults(name_of(path), [name]) == []
