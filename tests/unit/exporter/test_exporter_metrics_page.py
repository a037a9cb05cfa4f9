"""docs/metrics.md says something of every metric, and who asks for it."""

from __future__ import annotations

import re

import promql_parser

from docs.metrics_page import files

ROW = re.compile(r"^\| `(.+?)` \| (\w+) \| (.+?) \| (.+?) \| (.*?) \| `(.+)` \|$", re.M)
((PAGE, CONTENT),) = files().items()


def test_every_metric_has_a_row_with_a_meaning_and_a_valid_query() -> None:
    rows = ROW.findall(CONTENT)
    assert len(rows) > 80
    assert len(rows) == len(re.findall(r"^\| `", CONTENT, re.M))
    names = [row[0] for row in rows]
    assert len(set(names)) == len(names)
    for name, _, _, meaning, _, query in rows:
        assert len(meaning) > 5, name
        assert promql_parser.parse(query.replace("\\|", "|")), name


def test_a_row_names_those_who_ask() -> None:
    asked_by = {row[0]: row[4] for row in ROW.findall(CONTENT)}
    assert asked_by["autoscaler_jobs_parked"] == "status page, rules, dashboards"
    # By one of its series, and by a query that fills in the name.
    assert "simulator" in asked_by["autoscaler_job_duration_seconds"]
    assert "scaler" in asked_by["queue:job_arrivals:rate10m"].split(", ")
    assert asked_by["autoscaler_keda_value"] == ""
