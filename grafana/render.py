"""Specifications into Grafana's JSON, by Grafana's own SDK."""

from __future__ import annotations

import itertools
import json
from typing import Any

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from grafana.spec import DashboardSpec, Panel, PanelKind

TAG = "autoscaler"
REFRESH = "5s"
"""The default of DASHBOARD_REFRESH_INTERVAL."""
ALL = ".+"
_SOURCE = model.DataSourceRef(type_val="prometheus", uid="$datasource")
_HEIGHT = 8
_NUMBER_HEIGHT = 5
_VARIABLES = (
    ("job", "Job", "label_values(up, job)"),
    ("instance", "Instance", 'label_values(up{job=~"$job"}, instance)'),
    ("queue", "Queue", "label_values(autoscaler_jobs_in_flight, queue)"),
    ("target", "Target", "label_values(autoscaler_target_replicas, target)"),
)
RUNBOOKS = "docs/runbooks"
"""Default of the text variable that links of runbooks begin with: the path in the repository."""


def rendered(dashboard: DashboardSpec) -> str:
    """The dashboard's JSON, indented, with a newline at its end."""
    builder = (
        build.Dashboard(dashboard.title)
        .uid(dashboard.uid)
        .description(dashboard.description)
        .tags([TAG])
        .readonly()
        .refresh(REFRESH)
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(_links())
        .annotation(_scale_events())
        .with_variable(_datasource())
    )
    for name, label, query in _VARIABLES:
        builder = builder.with_variable(_variable(name, label, query))
    builder = builder.with_variable(
        build.TextBoxVariable("runbooks").label("Runbooks").default_value(RUNBOOKS)
    )
    numbers = itertools.count(1)
    for row in dashboard.rows:
        builder = builder.with_row(build.Row(row.title).id(next(numbers)))
        for panel in row.panels:
            builder = builder.with_panel(_panel(panel).id(next(numbers)))
    content: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(builder.build()))
    _name_events(content)
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def _links() -> build.DashboardLink:
    return (
        build.DashboardLink("Autoscaler")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )


def _scale_events() -> build.AnnotationQuery:
    target = 'autoscaler_target_replicas{job=~"$job", instance=~"$instance", target=~"$target"}'
    return (
        build.AnnotationQuery()
        .name("Scaling")
        .datasource(_SOURCE)
        .enable(True)
        .icon_color("blue")
        .expr(f"max by (target) (changes({target}[$__rate_interval])) > 0")
    )


def _name_events(content: dict[str, Any]) -> None:
    """What Prometheus annotations show: fields of the data source that the SDK does not know."""
    for annotation in content["annotations"]["list"]:
        annotation.update(
            titleFormat="{{target}}", textFormat="The target was changed", tagKeys="target"
        )


def _datasource() -> build.DatasourceVariable:
    return build.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _variable(name: str, label: str, query: str) -> build.QueryVariable:
    return (
        build.QueryVariable(name)
        .label(label)
        .datasource(_SOURCE)
        .query(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(ALL)
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _panel(panel: Panel) -> Any:
    height = _NUMBER_HEIGHT if panel.kind is PanelKind.NUMBER else _HEIGHT
    builder: Any = (
        _of_kind(panel.kind)
        .title(panel.title)
        .description(panel.description)
        .unit(panel.unit)
        .datasource(_SOURCE)
        .height(height)
        .span(panel.width)
        .thresholds(_thresholds(panel))
    )
    if panel.runbook:
        url = f"${{runbooks}}/{panel.runbook}.md"
        builder = builder.links([build.DashboardLink(f"Runbook: {panel.runbook}").url(url)])
    for index, query in enumerate(panel.queries):
        builder = builder.with_target(
            prometheus.Dataquery()
            .ref_id(chr(ord("A") + index))
            .expr(query.expr)
            .legend_format(query.legend)
            .datasource(_SOURCE)
            .range()
        )
    return builder


def _of_kind(kind: PanelKind) -> Any:
    if kind is PanelKind.NUMBER:
        return stat.Panel().reduce_options(
            common_builders.ReduceDataOptions().calcs(["lastNotNull"])
        )
    if kind is PanelKind.STATES:
        return statetimeline.Panel().show_value(common.VisibilityMode.NEVER)
    lines = timeseries.Panel().line_width(1).fill_opacity(8)
    if kind is PanelKind.STACKED:
        stacking = common_builders.StackingConfig().mode(common.StackingMode.NORMAL)
        return lines.stacking(stacking).fill_opacity(40)
    return lines


def _thresholds(panel: Panel) -> build.ThresholdsConfig:
    steps = [model.Threshold(value=None, color="green")]
    if panel.warn_at is not None:
        steps.append(model.Threshold(value=panel.warn_at, color="orange"))
    if panel.bad_at is not None:
        steps.append(model.Threshold(value=panel.bad_at, color="red"))
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)
