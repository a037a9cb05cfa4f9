"""`python -m scaler.gateway`: serve until SIGTERM or SIGINT."""

from __future__ import annotations

import signal
import threading

from prometheus_client import CollectorRegistry

from common.logs import configure, get
from common.settings import load, or_exit
from scaler.gateway.listener import GatewayServer
from scaler.gateway.service import Gateway
from scaler.gateway.settings import GatewaySettings
from scaler.orchestrators.swarm.engine import DirectEngine


def main() -> int:
    """Run; 0 when asked to end, 2 for an invalid configuration."""
    settings = or_exit(lambda: load(GatewaySettings))
    configure("gateway", settings.log_level)
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    registry = CollectorRegistry()
    engine = DirectEngine(settings.docker_host, min_grace_s=settings.graceful_shutdown_timeout)
    gateway = Gateway(
        engine,
        min_workers=settings.min_workers,
        max_workers=settings.max_workers,
        registry=registry,
    )
    token = settings.gateway_token.get_secret_value()
    host, port = settings.http_host, settings.http_port
    with or_exit(lambda: GatewayServer(gateway, token, registry, host=host, port=port)) as server:
        get("gateway").info("serving", port=server.port)
        stop.wait()
    engine.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
