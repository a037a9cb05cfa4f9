"""The picture of a run: queue and fleet over time, from Prometheus."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from common.records import WorkerState
from scaler.prometheus.client import Prometheus

_STATES = {
    WorkerState.BUSY: "#2a9d5c",
    WorkerState.IDLE: "#8fd0e8",
    WorkerState.STARTING: "#f4c95d",
    WorkerState.DRAINING: "#b48ade",
}


def draw(prometheus: Prometheus, target: str, start: float, end: float, path: Path) -> None:
    """Write a PNG of the run between two epoch seconds; raises PrometheusError."""

    def series(query: str) -> list[tuple[float, float]]:
        found = prometheus.matrix(query, start, end, 1.0)
        return [(at - start, value) for at, value in found[0][1]] if found else []

    figure, (queue, fleet) = plt.subplots(
        2, 1, figsize=(10, 6.5), sharex=True, constrained_layout=True
    )
    figure.suptitle("One burst of twelve jobs", fontsize=14, fontweight="bold")
    waiting = series('max(rabbitmq_queue_messages_ready{queue="video-queue"})')
    flight = series('max(autoscaler_jobs_in_flight{queue="video-queue"})')
    queue.step(*_axes(waiting), where="post", color="#d1495b", lw=2, label="waiting")
    queue.step(*_axes(flight), where="post", color="#2a9d5c", lw=2, label="in progress")
    queue.set_ylabel("jobs")
    queue.legend(loc="upper right", frameon=False)

    query = 'max by (state) (autoscaler_workers{queue="video-queue",state="%s"})'
    columns = {state: dict(series(query % state)) for state in _STATES}
    moments = sorted({at for column in columns.values() for at in column})
    heights = [[columns[state].get(at, 0.0) for at in moments] for state in _STATES]
    fleet.stackplot(
        moments, heights, labels=list(_STATES), colors=list(_STATES.values()), step="post"
    )
    wanted = series(f'max(autoscaler_target_replicas{{target="{target}"}})')
    fleet.step(*_axes(wanted), where="post", color="black", lw=1.5, ls="--", label="target")
    fleet.set_ylabel("workers")
    fleet.set_xlabel("seconds since the start of the run")
    fleet.legend(loc="upper right", frameon=False)
    for axes in (queue, fleet):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _axes(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [at for at, _ in points], [value for _, value in points]
