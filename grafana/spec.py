"""What a dashboard says, apart from how Grafana writes it down."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PanelKind(StrEnum):
    """How a panel shows its series."""

    LINES = "lines"
    STACKED = "stacked"
    NUMBER = "number"
    STATES = "states"


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression with what its series are called."""

    expr: str
    legend: str
    may_be_empty: str = ""
    """Why it may return nothing when all is well."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One question and its answer."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: PanelKind = PanelKind.LINES
    warn_at: float | None = None
    """Where the value begins to be bad; above it is shown in orange."""
    bad_at: float | None = None
    """Where it is bad; above it is shown in red."""
    runbook: str = ""
    """The alert whose runbook helps."""
    width: int = 12
    """Of 24 columns."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class DashboardSpec:
    """One page."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All of them, in reading order."""
        return tuple(panel for row in self.rows for panel in row.panels)


def raw(metric: str, *matchers: str) -> str:
    """A selector of a scraped metric, bound to the dashboard's job and instance."""
    bound = ('job=~"$job"', 'instance=~"$instance"', *matchers)
    return f"{metric}{{{', '.join(bound)}}}"


def of_queue(metric: str, *matchers: str) -> str:
    """A scraped metric of the chosen queues."""
    return raw(metric, 'queue=~"$queue"', *matchers)


def of_target(metric: str, *matchers: str) -> str:
    """A scraped metric of the chosen targets."""
    return raw(metric, 'target=~"$target"', *matchers)


def recorded(series: str) -> str:
    """A recorded series of the chosen queues; it has neither job nor instance."""
    return f'{series}{{queue=~"$queue"}}'
