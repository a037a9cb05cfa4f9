"""One scrape: every source read within the deadline, and the families of what answered."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from common.amqp import parameters
from common.ledger import Ledger
from common.records import QueueCounters
from exporter import catalog
from exporter.amqp import Depth, QueueReader
from exporter.families import (
    DEAD_SUFFIX,
    counter_families,
    fleet_families,
    queue_families,
    source_families,
    threshold_family,
)
from exporter.fleet import Member, members
from exporter.selection import QueueName, Selection
from exporter.settings import ExporterSettings
from exporter.sources import Reading, Source, SourceError
from exporter.thresholds import read_thresholds

# Of the time that is left, what the queues may take; the ledger is read after them.
_QUEUES_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class LedgerView:
    """What the ledger holds at one moment."""

    fleet: Sequence[Member]
    counters: Sequence[QueueCounters]


class Exporter:
    """The sources, kept connected between scrapes. Holds no values."""

    def __init__(
        self,
        settings: ExporterSettings,
        ledger: Ledger,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        vhosts = settings.vhosts or (parameters(settings, name="").virtual_host,)
        self._selection = Selection(settings.queues, settings.queues_exclude, vhosts)
        self._readers: dict[str, QueueReader] = {}
        self._amqp: Source[dict[QueueName, Depth]] = Source("amqp", clock=clock)
        self._fleet: Source[LedgerView] = Source("ledger", clock=clock)

    def start(self) -> Exporter:
        """Connect to the broker; the ledger connects when it is read."""
        for queue in self._selection.named():
            self._reader(queue.vhost)
        return self

    def close(self) -> None:
        """Disconnect."""
        for reader in self._readers.values():
            reader.close()
        self._amqp.close()
        self._fleet.close()

    def problem(self) -> str | None:
        """Why the exporter cannot go on, or None."""
        dead = [vhost for vhost, reader in self._readers.items() if not reader.alive]
        return f"the connection thread of {dead} has died" if dead else None

    def collect(self, budget_s: float) -> Iterator[Family]:
        """The families of one scrape that may take `budget_s` seconds."""
        began = self._clock()
        deadline = began + budget_s
        queues = self._selection.named()
        # Queues first, ledger second: a job on its way from one to the other is seen twice at
        # worst, never not at all.
        until = began + budget_s * _QUEUES_SHARE
        depths = self._amqp.begin(lambda: self._depths(queues, until)).result(until)
        ledger = self._fleet.begin(self._view).result(deadline)
        readings: dict[str, Reading[Any]] = {"amqp": depths, "ledger": ledger}
        names = [queue.name for queue in queues]
        if depths.value is not None:
            yield from queue_families(depths.value)
        if ledger.value is not None:
            yield from fleet_families(ledger.value.fleet, names)
            yield from counter_families(ledger.value.counters, names)
        yield threshold_family(read_thresholds(self._settings.alert_thresholds_config_path))
        yield from source_families(readings)
        yield from self._own_families(len(queues), self._clock() - began)

    def _own_families(self, queues: int, duration_s: float) -> Iterator[Family]:
        count, duration = catalog.EXPORTER_QUEUES.gauge(), catalog.EXPORTER_DURATION.gauge()
        count.add_metric((), queues)
        duration.add_metric((), duration_s)
        build = catalog.BUILD.info()
        build.add_metric(
            (), {"version": version("rabbitreels-autoscaler"), "python": platform.python_version()}
        )
        yield from (count, duration, build)

    def view(self) -> LedgerView:
        """The ledger as it is now. Raises LedgerError."""
        return self._view()

    def _view(self) -> LedgerView:
        records, counters = self._ledger.workers(), self._ledger.counters()
        fleet = members(
            records,
            self._ledger.now(),
            unhealthy_after_s=self._settings.unhealthy_after_s,
            forget_after_s=self._settings.forget_after,
        )
        return LedgerView(fleet, counters)

    def _depths(self, queues: Sequence[QueueName], until: float) -> dict[QueueName, Depth]:
        result: dict[QueueName, Depth] = {}
        problem = None
        for vhost in sorted({queue.vhost for queue in queues}):
            names = [queue.name for queue in queues if queue.vhost == vhost]
            names += [f"{name}{DEAD_SUFFIX}" for name in names if not name.endswith(DEAD_SUFFIX)]
            try:
                found = self._reader(vhost).read(names, until - self._clock())
            except SourceError as error:
                problem = error
                continue
            result.update((QueueName(vhost, name), depth) for name, depth in found.items())
        if problem is not None:
            raise problem
        return result

    def _reader(self, vhost: str) -> QueueReader:
        if vhost not in self._readers:
            given = parameters(self._settings, name="autoscaler-exporter")
            given.virtual_host = vhost
            self._readers[vhost] = QueueReader(given, clock=self._clock).start()
        return self._readers[vhost]


class Scrape(Collector):
    """One scrape as a collector: made for one request, with that request's deadline."""

    def __init__(self, exporter: Exporter, budget_s: float) -> None:
        self._exporter = exporter
        self._budget_s = budget_s

    def collect(self) -> Iterator[Family]:
        """The families, read now."""
        return self._exporter.collect(self._budget_s)

    def describe(self) -> Iterator[Family]:
        """Nothing is known before a scrape."""
        return iter(())
