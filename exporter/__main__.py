"""`python -m exporter`: serve RabbitMQ and the fleet ledger as Prometheus metrics."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from common import logs
from common.errors import ConfigError
from common.http import Server
from common.ledger import Ledger
from common.outgoing import NO_SETTINGS, ClientPolicy
from common.settings import load, or_exit, read_yaml, section_of
from exporter.collector import Exporter
from exporter.management import Management
from exporter.pages import routes
from exporter.settings import ExporterSettings
from exporter.thresholds import read_alert_settings

_HELP = """Environment (each also as NAME_FILE, a file that holds the value):
  RABBIT_URL, REDIS_URL   where the sources are (required)
  QUEUES                  names or patterns, comma-separated (video-queue)
  QUEUES_EXCLUDE, VHOSTS  patterns (none; the virtual host of RABBIT_URL)
  MANAGEMENT_URL          the management API, for patterns and details (not asked)
  HTTP_HOST, HTTP_PORT    where to listen (0.0.0.0, 9419)
  ALERT_THRESHOLDS_CONFIG_PATH, SCALING_CONFIG  files
See docs/metrics.md for the metrics and exporter/settings.py for every setting."""


_IN_FILE = {"heartbeat_interval": "worker", "health_check_interval": "scaling"}
"""What of `scaling-config.yml` is the exporter's too, and the section that it is in."""


def settings(environ: dict[str, str] | None = None) -> ExporterSettings:
    """The settings from the environment over `scaling-config.yml`.

    Raises ConfigError.
    """
    env = dict(os.environ if environ is None else environ)
    path = env.get("SCALING_CONFIG")
    content = read_yaml(Path(path)) if path else {}
    base = {
        name: section_of(content, section)[name]
        for name, section in _IN_FILE.items()
        if name in section_of(content, section)
    }
    try:
        return load(ExporterSettings, environ=env, base=base, base_name="file")
    except ConfigError as error:
        name = error.field.removeprefix("file.")
        if name == error.field:
            raise
        raise ConfigError(f"{_IN_FILE[name]}.{name}", error.value, error.allowed) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; 0 afterwards, 2 for an invalid configuration."""
    parser = argparse.ArgumentParser(
        prog="exporter",
        description=__doc__,
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    given = or_exit(settings)
    logs.configure("exporter", given.log_level)
    # An unreachable broker is logged once, by the source, not at every try.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    or_exit(lambda: read_alert_settings(given.alert_thresholds_config_path))
    exporter = or_exit(lambda: connected(given, ClientPolicy("MANAGEMENT")))
    pages = routes(exporter, given.scrape_timeout)
    server = or_exit(lambda: Server(given, pages, name="exporter"))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with server:
        exporter.start()
        logs.get("exporter").info("serving", port=server.port)
        stop.wait()
    exporter.close()
    return 0


def connected(given: ExporterSettings, management: ClientPolicy = NO_SETTINGS) -> Exporter:
    """An exporter of what the settings name; `management` is how its API is connected to. Raises
    ConfigError."""
    url = given.management_url
    api = None if url is None else Management(url.get_secret_value(), management)
    return Exporter(given, Ledger.of(given), api)


if __name__ == "__main__":
    sys.exit(main())
