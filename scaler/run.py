"""`python -m scaler run`: puts the parts together and keeps them going."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from common.http import HttpSettings
from common.ledger import Ledger, LedgerSettings
from common.logs import configure, get
from common.outgoing import ClientPolicy
from common.settings import load, or_exit
from common.urls import without_credentials
from scaler.config.load import CONFIG_VARIABLE, ScalerConfig, load_config
from scaler.config.reload import Reloader
from scaler.external.decisions import ControllerDecisions
from scaler.external.grpc_server import ExternalScalerServer
from scaler.external.pod_deletion_cost import PodDeletionCost, PodDeletionCostSettings, Pods
from scaler.external.settings import ExternalScalerSettings
from scaler.loop.controller import Controller
from scaler.loop.discovery import Discovery
from scaler.loop.history import History
from scaler.loop.housekeeping import Housekeeping
from scaler.loop.lease import Leader
from scaler.loop.metrics import ScalerMetrics
from scaler.loop.order_sync import LedgerBoard
from scaler.loop.restore import Restore
from scaler.orchestrators import create
from scaler.orchestrators.base import Orchestrator
from scaler.orchestrators.pooled import Pooled
from scaler.policy.observation import Worker
from scaler.prometheus.client import Prometheus
from scaler.prometheus.look import Signals
from scaler.web.access import Access
from scaler.web.app import create_app
from scaler.web.page_data import PageData
from scaler.web.settings import WebSettings
from scaler.web.status import Links, StatusBoard
from scaler.web.web_server import WebServer

_log = get("scaler")
_HTTP_PORT = 8080
# A loop that has not come round for so many intervals is stuck, not slow.
_STALLED_INTERVALS = 15
# An hour of a thousand targets' past takes longer than a look.
_PAST_TIMEOUT_S = 5.0
# A look at a thousand targets makes a hundred thousand objects and no cycle of references: by the
# default half of the loop's time went into searching them for some.
_COLLECT_AFTER = 100_000


class RunSettings(LedgerSettings):
    """What only a running scaler needs."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"


def run(config_path: Path | None) -> int:
    """Scale until SIGTERM or SIGINT; returns 0 then. Exits with 2 for an invalid configuration."""
    config = or_exit(lambda: load_config(config_path))
    settings = or_exit(lambda: load(RunSettings))
    http = or_exit(lambda: load(HttpSettings, base={"http_port": _HTTP_PORT}))
    web = or_exit(lambda: load(WebSettings))
    port = {"grpc_port": config.program.grpc_port}
    grpc = or_exit(lambda: load(ExternalScalerSettings, base=port))
    configure("scaler", settings.log_level)
    gc.set_threshold(_COLLECT_AFTER, 20, 50)
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    with ExitStack() as stack:
        backends = _Backends(stack)
        discovery = or_exit(lambda: _discovery(config, backends))
        controller = or_exit(lambda: _controller(config, settings, (backends, discovery), stack))
        watch = _watch(config, stack)

        def take(changed: ScalerConfig) -> None:
            made = backends.of(changed)
            defaults = changed.scaling.target_defaults
            discovery.reconfigure(made, defaults=defaults, configured=changed.targets)
            controller.reconfigure(changed.targets, made)
            controller.interval_s = changed.scaling.metrics_collection_interval
            watch.refresh_s = changed.program.dashboard_refresh_interval

        reloader = _reloader(config_path, config, take, controller)
        links = _links(config, web)
        board = StatusBoard(controller, watch, links, config_problem=lambda: reloader.problem)
        external = or_exit(lambda: _serve_grpc(config, grpc, controller, stack))
        access = Access(http, web.http_act_token)
        app = create_app(board, access, health_check=_health_check(controller, external))
        or_exit(lambda: stack.enter_context(WebServer(http, app)))
        or_exit(lambda: _tend_pods(controller, stack))
        gc.freeze()  # what was made by now stays
        controller.run(config.scaling.metrics_collection_interval, stop)
        _log.info("leaving; the fleet stays as it is")
    return 0


class _Backends:
    """The orchestrators that targets name, each made when it is first named."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._made: dict[str, Orchestrator] = {}
        self.fence: Callable[[], None] = Orchestrator.fence
        """What each of them calls before it changes anything."""

    def of(self, config: ScalerConfig) -> dict[str, Orchestrator]:
        """All that were made so far, those of `config` among them."""
        for name in {target.orchestrator for target in config.targets} - self._made.keys():
            self._made[name] = Pooled(create(name, config.worker.given))
            self._stack.callback(self._made[name].close)
        for each in self._made.values():
            each.fence = self.fence
        return dict(self._made)


def _discovery(config: ScalerConfig, backends: _Backends) -> Discovery:
    made = backends.of(config)
    return Discovery(made, defaults=config.scaling.target_defaults, configured=config.targets)


def _controller(
    config: ScalerConfig,
    settings: RunSettings,
    found: tuple[_Backends, Discovery],
    stack: ExitStack,
) -> Controller:
    backends, discovery = found
    prometheus = Prometheus(config.program.prometheus_url, policy=ClientPolicy("PROMETHEUS"))
    stack.callback(prometheus.close)
    past = Prometheus(
        config.program.prometheus_url,
        timeout_s=_PAST_TIMEOUT_S,
        policy=ClientPolicy("PROMETHEUS"),
    )
    stack.callback(past.close)
    ledger = Ledger.of(settings, rest_s=5.0)
    stack.callback(ledger.close)
    leader = Leader(ledger)
    stack.callback(leader.resign)
    backends.fence = leader.require
    history = History(
        config.program.history_path,
        retention_s=config.program.metrics_retention_days * 86_400.0,
    )
    stack.callback(history.close)
    made = backends.of(config)
    _log.info(
        "starting",
        targets=[target.name for target in config.targets],
        orchestrators=sorted(made),
        prometheus=without_credentials(prometheus.url),
    )
    controller = Controller(
        config.targets,
        signals=Signals(prometheus),
        orchestrators=made,
        ledger=leader,
        leads=leader.leads,
        board=LedgerBoard(ledger),
        discovery=discovery,
        history=history,
        metrics=ScalerMetrics(version("rabbitreels-autoscaler")),
        recall=Restore(past, interval_s=config.scaling.metrics_collection_interval),
    )
    controller.subscribe(
        Housekeeping(
            ledger,
            leads=leader.leads,
            targets=lambda: [target.name for target in controller.targets],
        ),
        "housekeeping",
    )
    return controller


def _reloader(
    path: Path | None,
    config: ScalerConfig,
    take: Callable[[ScalerConfig], None],
    controller: Controller,
) -> Reloader:
    given = os.environ.get(CONFIG_VARIABLE)
    path = path or (Path(given) if given else None)
    reloader = Reloader(
        path, config, load=lambda: load_config(path), take=take, metrics=controller.metrics
    )
    signal.signal(signal.SIGHUP, lambda *_: reloader.ask())
    # After a cycle, on the loop's thread: nothing is being decided then.
    controller.subscribe(reloader.check, "reload")
    return reloader


def _watch(config: ScalerConfig, stack: ExitStack) -> PageData:
    # A client of its own: pages are asked for on other threads than the loop's.
    prometheus = Prometheus(config.program.prometheus_url, policy=ClientPolicy("PROMETHEUS"))
    stack.callback(prometheus.close)
    return PageData(prometheus, config.program.dashboard_refresh_interval, time.time)


def _links(config: ScalerConfig, web: WebSettings) -> Links:
    prometheus = web.prometheus_link_url or without_credentials(config.program.prometheus_url)
    return Links(prometheus, web.grafana_link_url)


def _serve_grpc(
    config: ScalerConfig,
    grpc: ExternalScalerSettings,
    controller: Controller,
    stack: ExitStack,
) -> ExternalScalerServer:
    external = ExternalScalerServer(
        grpc,
        ControllerDecisions(controller),
        config.program.prometheus_url,
        registry=controller.metrics.registry,
        policy=ClientPolicy("PROMETHEUS"),
    )
    stack.enter_context(external)
    return external


def _tend_pods(controller: Controller, stack: ExitStack) -> None:
    settings = load(PodDeletionCostSettings)
    if not settings.pod_deletion_cost:
        return

    def workers() -> Iterator[Worker]:
        for target in controller.targets:
            yield from controller.workers(target.name)

    keeper = PodDeletionCost(
        Pods(settings),
        workers,
        interval_s=settings.pod_deletion_cost_interval_s,
        contained=controller.contained,
    )
    stack.callback(keeper.start().stop)


def _health_check(
    controller: Controller, external: ExternalScalerServer
) -> Callable[[], str | None]:
    """Alive means that the loop comes round, not merely that the process is there."""

    def check() -> str | None:
        patience_s = max(30.0, _STALLED_INTERVALS * controller.interval_s)
        silent_s = time.monotonic() - controller.progressed_at
        if silent_s >= patience_s:
            return f"the loop has been stuck for {silent_s:.0f} s"
        return None if external.running else "the gRPC server has ended"

    return check
