"""One scrape: every source read within the deadline, and the families of what answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from common.amqp import parameters
from common.errors import ConfigError
from common.ledger import Ledger
from common.logs import get
from exporter.depths import Depths
from exporter.directory import Directory
from exporter.families import (
    LedgerView,
    ScrapeReadings,
    families,
    own_families,
    source_families,
)
from exporter.management import Details, Management
from exporter.members import members
from exporter.mixed_queues import mixed
from exporter.selection import DEAD_SUFFIX, QueueName, Selection
from exporter.settings import ExporterSettings
from exporter.sources import Pending, Reading, SourceError, SourceReader
from exporter.steady_totals import SteadyTotals
from exporter.thresholds import AlertSettings, read_alert_settings

# Of the scrape's time: what waiting for the very first listing may take, and by when the queues
# must have answered; the ledger is read after them.
_LISTING_SHARE = 0.4
_QUEUES_SHARE = 0.7
# So many names a log line holds.
_SAID = 10
_log = get("exporter")


class Exporter:
    """The sources, kept connected between scrapes. Holds no values but what totals have shown."""

    def __init__(
        self,
        settings: ExporterSettings,
        ledger: Ledger,
        management: Management | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ConfigError for patterns without a management API to list queues with."""
        self._settings = settings
        self._ledger = ledger
        self._management = management
        self._clock = clock
        vhosts = settings.vhosts or (parameters(settings, name="")[0].virtual_host,)
        self._selection = Selection(settings.queues, settings.queues_exclude, vhosts)
        self._directory = None
        if self._selection.needs_listing:
            if management is None:
                raise ConfigError("MANAGEMENT_URL", None, "a URL, as QUEUES or VHOSTS has patterns")
            self._directory = Directory(management, settings.discovery_interval, clock=clock)
        self._depths = Depths(settings, clock)
        self._steady = SteadyTotals()
        self._said: tuple[object, ...] = ([], [], {})
        self._sources: dict[str, SourceReader[Any]] = {
            name: SourceReader(name, clock=clock)
            for name in ("amqp", "management", "ledger", "thresholds")
        }

    def start(self) -> Exporter:
        """Connect to the broker; the ledger connects when it is read."""
        self._depths.connect({queue.vhost for queue in self._selection.named()})
        if self._directory is not None:
            self._directory.start()
        return self

    def close(self) -> None:
        """Disconnect."""
        if self._directory is not None:
            self._directory.close()
        if self._management is not None:
            self._management.close()
        self._depths.close()
        self._ledger.close()
        for source in self._sources.values():
            source.close()

    def problem(self) -> str | None:
        """Why the exporter cannot go on, or None."""
        return self._depths.problem()

    def collect(self, budget_s: float) -> Iterator[Family]:
        """The families of one scrape that may take `budget_s` seconds."""
        began = self._clock()
        readings: dict[str, Reading[Any]] = {}
        queues = self._queues(readings, budget_s * _LISTING_SHARE)
        # Queues first, ledger second: a job that is taken in between is seen twice, not lost.
        until, deadline = began + budget_s * _QUEUES_SHARE, began + budget_s
        details = self._begin_details(queues, deadline)
        read_depths = partial(self._depths.read, queues, until)
        readings["amqp"] = self._sources["amqp"].begin(read_depths).result(until)
        read_ledger = partial(self._ledger_of, queues)
        readings["ledger"] = self._sources["ledger"].begin(read_ledger).result(deadline)
        readings["thresholds"] = self._sources["thresholds"].begin(self._alerts).result(deadline)
        if details is not None:
            readings["management"] = details.result(deadline)
        yield from families(self._seen(queues, readings))
        yield from source_families(readings)
        yield from own_families(len(queues), self._clock() - began)

    def view(self) -> LedgerView:
        """Read the ledger. Raises LedgerError."""
        records = self._ledger.recent_workers(
            self._settings.forget_after, silent_after_s=self._settings.unhealthy_after_s
        )
        totals = self._ledger.totals()
        fleet = members(
            records.found,
            self._ledger.now(),
            unhealthy_after_s=self._settings.unhealthy_after_s,
            forget_after_s=self._settings.forget_after,
        )
        return LedgerView(fleet, totals.found, records.unnamed, records.damaged, totals.damaged)

    def _ledger_of(self, queues: Sequence[QueueName]) -> LedgerView:
        """The view for a scrape that reads `queues`. On the ledger's thread alone."""
        view = self.view()
        steady = self._steady.follow(view.counters, view.damaged_totals, self._clock())
        view = view._replace(counters=steady, mixed=mixed(queues, view.fleet, view.counters))
        self._say(view)
        return view

    def _say(self, view: LedgerView) -> None:
        """Log what is left out when that changes."""
        workers, totals = sorted(view.damaged_workers), sorted(view.damaged_totals)
        several = dict(sorted(view.mixed.items())[:_SAID])
        unused = (workers[:_SAID], totals[:_SAID], several)
        if unused != self._said:
            self._said = unused
            _log.warning(
                "ledger entries left out of the metrics",
                workers=workers[:_SAID],
                totals=totals[:_SAID],
                in_several_vhosts=several,
            )

    def _queues(self, readings: dict[str, Reading[Any]], timeout_s: float) -> list[QueueName]:
        if self._directory is None:
            return self._selection.resolve(())
        readings["listing"] = listing = self._directory.reading(timeout_s)
        return self._selection.resolve(listing.value or ())

    def _begin_details(
        self, queues: Sequence[QueueName], deadline: float
    ) -> Pending[dict[QueueName, Details]] | None:
        if self._management is None:
            return None
        asked = [queue for queue in queues if not queue.name.endswith(DEAD_SUFFIX)]
        management, patterns = self._management, self._settings.queues

        def read() -> dict[QueueName, Details]:
            return management.details(asked, patterns, deadline - self._clock())

        return self._sources["management"].begin(read)

    def _seen(
        self, queues: Sequence[QueueName], readings: Mapping[str, Reading[Any]]
    ) -> ScrapeReadings:
        return ScrapeReadings(
            depths=readings["amqp"].value,
            details=readings["management"].value if "management" in readings else None,
            ledger=readings["ledger"].value,
            alerts=readings["thresholds"].value,
            names={queue.name for queue in queues if not queue.name.endswith(DEAD_SUFFIX)},
            named={queue.name for queue in self._selection.named()},
        )

    def _alerts(self) -> AlertSettings:
        try:
            return read_alert_settings(self._settings.alert_thresholds_config_path)
        except ConfigError as error:
            raise SourceError(str(error)) from error


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
