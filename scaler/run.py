"""`python -m scaler run`: puts the parts together and keeps them going."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from common.http import HttpSettings
from common.ledger import Ledger
from common.logs import configure, get, without_credentials
from common.settings import Settings, load, or_exit
from scaler.config import ScalerConfig, load_config
from scaler.controller import Controller
from scaler.decided import ControllerDecisions
from scaler.discovery import Discovery
from scaler.external.server import ExternalScalerServer
from scaler.external.settings import ExternalScalerSettings
from scaler.history import History
from scaler.leader import Leader
from scaler.metrics import ScalerMetrics
from scaler.orchestrators import create
from scaler.orchestrators.base import WorkerSeen
from scaler.pod_deletion_cost import PodDeletionCost, PodDeletionCostSettings, Pods
from scaler.promql import Prometheus
from scaler.recall import Recall
from scaler.signals import Signals
from scaler.targets import Knobs
from scaler.web.access import Access
from scaler.web.app import create_app
from scaler.web.server import WebServer
from scaler.web.settings import WebSettings
from scaler.web.status import Links, StatusBoard
from scaler.web.watch import Watch

_log = get("scaler")
_HTTP_PORT = 8080
# A loop that has not come round for so many intervals is stuck, not slow.
_STALLED_INTERVALS = 15


class RunSettings(Settings):
    """What only a running scaler needs."""

    redis_url: SecretStr
    """Of the ledger, to which drain requests go."""
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
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    with ExitStack() as stack:
        controller = or_exit(lambda: _controller(config, settings, stack))
        external = or_exit(lambda: _serve_grpc(config, grpc, controller, stack))
        check = _health_check(controller, external)
        or_exit(lambda: _serve(config, (http, web), controller, check, stack))
        or_exit(lambda: _tend_pods(controller, stack))
        controller.run(config.scaling.metrics_collection_interval, stop)
        _log.info("leaving; the fleet stays as it is")
    return 0


def _controller(config: ScalerConfig, settings: RunSettings, stack: ExitStack) -> Controller:
    prometheus = Prometheus(config.program.prometheus_url)
    stack.callback(prometheus.close)
    ledger = Ledger.connect(settings.redis_url.get_secret_value())
    stack.callback(ledger.close)
    leader = Leader(ledger)
    stack.callback(leader.resign)
    history = History(
        config.program.history_path,
        retention_s=config.program.metrics_retention_days * 86_400.0,
    )
    stack.callback(history.close)
    backends = {name: create(name) for name in {t.orchestrator for t in config.targets}}
    for backend in backends.values():
        stack.callback(backend.close)
    _log.info(
        "starting",
        targets=[target.name for target in config.targets],
        orchestrators=sorted(backends),
        prometheus=without_credentials(prometheus.url),
    )
    return Controller(
        config.targets,
        signals=Signals(prometheus),
        orchestrators=backends,
        ledger=leader,
        leads=leader.leads,
        discover=Discovery(backends, defaults=_defaults(config), configured=config.targets),
        history=history,
        metrics=ScalerMetrics(version("rabbitreels-autoscaler")),
        recall=Recall(prometheus),
    )


def _defaults(config: ScalerConfig) -> dict[str, object]:
    """What `scaling:` says for targets that the file does not name."""
    set_there = config.scaling.model_fields_set & Knobs.model_fields.keys()
    return {name: getattr(config.scaling, name) for name in set_there}


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
    )
    stack.enter_context(external)
    return external


def _serve(
    config: ScalerConfig,
    settings: tuple[HttpSettings, WebSettings],
    controller: Controller,
    health_check: Callable[[], str | None],
    stack: ExitStack,
) -> None:
    http, web = settings
    # A client of its own: pages are asked for on other threads than the loop's.
    prometheus = Prometheus(config.program.prometheus_url)
    stack.callback(prometheus.close)
    watch = Watch(prometheus, config.program.dashboard_refresh_interval, time.time)
    link = web.prometheus_link_url or without_credentials(config.program.prometheus_url)
    board = StatusBoard(controller, watch, Links(link, web.grafana_link_url))
    app = create_app(board, Access(http, web.http_act_token), health_check=health_check)
    stack.enter_context(WebServer(http, app))


def _tend_pods(controller: Controller, stack: ExitStack) -> None:
    settings = load(PodDeletionCostSettings)
    if not settings.pod_deletion_cost:
        return

    def workers() -> Iterator[WorkerSeen]:
        for target in controller.targets:
            yield from controller.workers(target.name)

    keeper = PodDeletionCost(
        Pods(settings), workers, interval_s=settings.pod_deletion_cost_interval_s
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
