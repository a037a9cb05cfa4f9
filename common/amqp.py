"""Connection parameters for RabbitMQ: the same reading of `RABBIT_URL` for exporter and worker."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import pika
from pydantic import SecretStr

from common.errors import ConfigError
from common.settings import Settings


class BrokerSettings(Settings):
    """How to reach the broker."""

    rabbit_url: SecretStr
    """amqp://user:password@host:port/vhost, or amqps:// for TLS."""
    rabbit_ca_file: Path | None = None
    """Certificate authority for amqps; default the system's."""
    rabbit_cert_file: Path | None = None
    rabbit_key_file: Path | None = None
    """Client certificate and key, where the broker asks for them."""


def parameters(
    settings: BrokerSettings, *, name: str, heartbeat_s: int = 30, timeout_s: float = 5.0
) -> pika.URLParameters:
    """pika parameters with `name` shown in the broker's list of connections.

    Raises ConfigError when the URL is not one of amqp or amqps.
    """
    url = settings.rabbit_url.get_secret_value()
    parts = urlsplit(url)
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
        raise ConfigError("RABBIT_URL", f"{parts.scheme}://…", "amqp:// or amqps://host[:port]/…")
    result = pika.URLParameters(url)
    result.heartbeat = heartbeat_s
    result.socket_timeout = timeout_s
    result.stack_timeout = timeout_s * 2
    result.blocked_connection_timeout = 60
    result.client_properties = {"connection_name": name}
    if parts.scheme == "amqps":
        result.ssl_options = pika.SSLOptions(_context(settings), parts.hostname)
    return result


def _context(settings: BrokerSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.rabbit_ca_file)
    if settings.rabbit_cert_file:
        context.load_cert_chain(settings.rabbit_cert_file, settings.rabbit_key_file)
    return context
