"""All dashboards: their files, and their queries for whoever wants to ask them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from grafana import autoscaler_itself, autoscaling, queue_and_jobs, workers
from grafana.render import ALL, rendered
from grafana.spec import DashboardSpec

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS: tuple[DashboardSpec, ...] = (
    autoscaling.DASHBOARD,
    queue_and_jobs.DASHBOARD,
    workers.DASHBOARD,
    autoscaler_itself.DASHBOARD,
)
# What Grafana would fill in with "All" chosen and one point every five seconds.
_FILLED = {
    "job": ALL,
    "instance": ALL,
    "queue": ALL,
    "target": ALL,
    "__rate_interval": "1m",
    "__interval": "5s",
}


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One query of one panel as Prometheus gets it."""

    dashboard: str
    panel: str
    expr: str
    may_be_empty: str
    """Why it may return nothing when all is well; "" where it must return data."""


def files() -> dict[Path, str]:
    """Every dashboard's file and content."""
    return {FOLDER / f"{each.uid}.json": rendered(each) for each in DASHBOARDS}


def panel_queries(variables: Mapping[str, str] | None = None) -> Iterator[PanelQuery]:
    """Every query of every panel, Grafana's variables filled in (`variables` over "All")."""
    filled = {**_FILLED, **(variables or {})}
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query in panel.queries:
                expr = query.expr
                for name, value in filled.items():
                    expr = expr.replace(f"${name}", value)
                yield PanelQuery(dashboard.title, panel.title, expr, query.may_be_empty)
