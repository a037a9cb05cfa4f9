"""The parts that all cells of the matrix share, and what each cell shows of itself to them."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from common.ledger import Ledger
from common.records import WorkerRecord, WorkerState
from demo.processes import Part
from demo.stack import Stack
from exporter.members import STATES
from scaler.prometheus.client import Prometheus, PrometheusError
from tests.support.waiting import until

_DATABASES = 200


class MatrixStack(Stack):
    """Redis with a database for each cell, and a Prometheus that scrapes what cells show."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.page = self.folder / "page" / "metrics.txt"
        self.page.parent.mkdir()
        self.page.touch()

    def begin(self) -> None:
        """All of it."""
        serve = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1"]
        serve += ["--directory", str(self.page.parent), str(self.exporter_port)]
        self.spawn("page", serve, ready_url=f"{self.exporter_url}/{self.page.name}")
        self.start("redis", "prometheus")

    def _part(self, name: str, command: Sequence[str], env: dict[str, str], **rest: Any) -> Part:
        if name == "redis":
            command = [*command, "--databases", str(_DATABASES)]
        return super()._part(name, command, env, **rest)

    def _scrape_config(self) -> dict[str, Any]:
        job = {
            "job_name": "exporter",
            "metrics_path": f"/{self.page.name}",
            "static_configs": [{"targets": [f"127.0.0.1:{self.exporter_port}"]}],
        }
        often = {"scrape_interval": "1s", "scrape_timeout": "1s"}
        return {"global": often, "scrape_configs": [job]}


class MatrixWorld(contextlib.ExitStack):
    """Redis, Prometheus, and the page that Prometheus scrapes. Use as a context."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._pages: dict[str, str] = {}
        self._databases = count()
        self._lock = threading.Lock()
        self.stack = self.enter_context(MatrixStack(folder / "stack"))
        self.stack.begin()
        self._prometheus = Prometheus(self.stack.prometheus_url, timeout_s=30)

    def database(self) -> int:
        """One that nobody has."""
        with self._lock:
            return next(self._databases)

    def ledger(self, database: int, port: int | None = None, **limits: float) -> Ledger:
        """A connection, through `port` where there is a proxy."""
        url = f"redis://127.0.0.1:{port or self.stack.redis_port}/{database}"
        return Ledger.connect(url, **limits)

    def show(self, queue: str, step: int, page: str) -> None:
        """Have Prometheus know it."""
        with self._lock:
            self._pages[queue] = f'{page}matrix_step{{queue="{queue}"}} {step}\n'
            fresh = self.stack.page.with_suffix(".new")
            fresh.write_text("".join(self._pages.values()))
            fresh.rename(self.stack.page)
        self.await_shown(queue, step)

    def await_shown(self, queue: str, step: int) -> None:
        """Wait until Prometheus knows it; a scrape may fail on a slow machine."""
        until(lambda: self._knows(queue, step), f"{queue} as shown in Prometheus")

    def _knows(self, queue: str, step: int) -> bool:
        try:
            found = self._prometheus.vector(f'matrix_step{{queue="{queue}"}}')
        except PrometheusError:
            return False
        return [sample.value for sample in found] == [step]


@dataclass
class MatrixCrew:
    """The workers and the queue of one cell, as they are."""

    world: MatrixWorld
    queue: str
    ledger: Ledger
    states: dict[str, WorkerState] = field(default_factory=dict)
    """Of the workers that show themselves, by id."""
    tasks: dict[str, str] = field(default_factory=dict)
    """What runs each of them."""
    waiting: int = 0
    steps: int = 0

    def show(self) -> None:
        """To the ledger as workers do, to Prometheus as the exporter does."""
        self.report()
        self.steps += 1
        self.world.show(self.queue, self.steps, self._page(time.time()))

    def report(self) -> None:
        """To the ledger alone: what Prometheus knows is older."""
        now = datetime.now(UTC)
        for worker, state in self.states.items():
            job = f"job-of-{worker}" if state is WorkerState.BUSY else None
            self.ledger.put_worker(
                WorkerRecord(
                    id=worker,
                    queue=self.queue,
                    vhost="/",
                    status=state,
                    status_since=now,
                    started_at=now,
                    last_seen=now,
                    job_id=job,
                    task=self.tasks[worker],
                )
            )

    def gone(self, worker: str) -> None:
        """It has left by itself."""
        del self.states[worker]
        self.ledger.remove_worker(worker)

    def await_shown(self) -> None:
        """Wait until Prometheus knows what was shown last."""
        self.world.await_shown(self.queue, self.steps)

    def asked(self) -> set[str]:
        """Workers to whom a request to leave stands in the ledger."""
        return {worker for worker in self.tasks if self.ledger.drain_request(worker)}

    def of(self, state: WorkerState) -> set[str]:
        """Who is in it."""
        return {worker for worker, each in self.states.items() if each is state}

    def _page(self, now: float) -> str:
        queue = f'queue="{self.queue}"'
        by_state = Counter(map(str, self.states.values()))
        # So few jobs come, and they take so long, that none is provided for ahead.
        lines = [
            f"queue:job_arrivals:rate5m{{{queue}}} 0.0001",
            f"queue:job_arrivals:rate1m{{{queue}}} 0",
            f"queue:job_arrivals:dispersion10m{{{queue}}} 1",
            f"queue:job_duration_seconds:mean1h{{{queue}}} 30",
            f"queue:worker_startup_seconds:mean1h{{{queue}}} 10",
            f'rabbitmq_queue_messages_ready{{{queue},vhost="/"}} {self.waiting}',
            f"autoscaler_jobs_in_flight{{{queue}}} {by_state[WorkerState.BUSY]}",
        ]
        lines += [
            f'autoscaler_workers{{{queue},state="{each}"}} {by_state[each]}' for each in STATES
        ]
        for worker, state in self.states.items():
            who = f'{queue},worker="{worker}"'
            place = f'node="n",task="{self.tasks[worker]}",slot=""'
            lines.append(f'autoscaler_worker_state{{{who},state="{state}",{place}}} 1')
            lines.append(f"autoscaler_worker_state_since_seconds{{{who}}} {now - 60:.0f}")
        return "".join(f"{line}\n" for line in lines)
