"""Connection parameters for RabbitMQ: the same reading of `RABBIT_URL` for exporter and worker."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import pika
from pika.exceptions import AMQPError
from pydantic import SecretStr

from common import urls
from common.errors import SecretInputError
from common.settings import MAX_NAME_BYTES, Settings
from common.tls_files import tls_context

# The broker's own default, and what a URL without a path, or with "/" alone, stands for.
_DEFAULT_VHOST = "/"
_SEVERAL = "several addresses of one virtual host with commas between them"


def addresses(text: str) -> tuple[pika.URLParameters, ...]:
    """The addresses in a `RABBIT_URL`, in the order in which they are to be tried.

    Raises SecretInputError.
    """
    found = tuple(_address(part.strip(" ")) for part in text.split(","))
    if len({each.virtual_host for each in found}) > 1:
        raise SecretInputError(f"{urls.BROKER.allowed}; {_SEVERAL} (there is more than one)")
    return found


class BrokerSettings(Settings):
    """How to reach the broker."""

    rabbit_url: Annotated[SecretStr, urls.checked(addresses)]
    """amqp://user:password@host:port/vhost, or amqps:// for TLS; several with commas between them
    are tried in turn."""
    rabbit_ca_file: Path | None = None
    """Certificate authority for amqps; default the system's."""
    rabbit_cert_file: Path | None = None
    rabbit_key_file: Path | None = None
    """Client certificate and key, where the broker asks for them."""


def parameters(
    settings: BrokerSettings, *, name: str, heartbeat_s: int = 30, timeout_s: float = 5.0
) -> tuple[pika.URLParameters, ...]:
    """pika parameters for each address in turn, with `name` shown in the broker's list of
    connections.

    Raises ConfigError when a file for TLS can't be used.
    """
    found = addresses(settings.rabbit_url.get_secret_value())
    for each in found:
        each.heartbeat = heartbeat_s
        each.socket_timeout = timeout_s
        each.stack_timeout = timeout_s * 2
        each.blocked_connection_timeout = 60
        each.client_properties = {"connection_name": name}
        if each.ssl_options is not None:
            files = (settings.rabbit_ca_file, settings.rabbit_cert_file, settings.rabbit_key_file)
            each.ssl_options = pika.SSLOptions(tls_context("RABBIT", *files), each.host)
    return found


def connect(addresses: Sequence[pika.ConnectionParameters]) -> pika.BlockingConnection:
    """A connection to the first address that answers; raises what the last one did, AMQPError or
    OSError.

    pika itself would stop at a host whose name is unknown, as that of one that is down may be.
    """
    for address in addresses[:-1]:
        with suppress(AMQPError, OSError):
            return pika.BlockingConnection(address)
    return pika.BlockingConnection(addresses[-1])


def _address(text: str) -> pika.URLParameters:
    url = urls.read(text, urls.BROKER)
    vhost = urls.unescaped_path(url, urls.BROKER) or _DEFAULT_VHOST
    if not vhost.isprintable() or len(vhost.encode()) > MAX_NAME_BYTES:
        said = f"a virtual host of printable characters, at most {MAX_NAME_BYTES} bytes"
        raise SecretInputError(f"{urls.BROKER.allowed} ({said})")
    if url.user is not None and not (url.user and url.password is not None):
        raise SecretInputError(f"{urls.BROKER.allowed} (user and password both, or neither)")
    try:
        # Where to connect and as whom is read above, the parameters after the ? by pika.
        found = pika.URLParameters(f"{url.scheme}://host?{url.query}")
    except Exception:  # whatever it is, it must not show what it failed at
        said = f"{urls.BROKER.allowed}; after a ? parameters that pika knows, such as heartbeat=30"
        raise SecretInputError(f"{said} (it has others, or none that can be used)") from None
    found.host, found.virtual_host = url.host, vhost
    if url.port is not None:
        found.port = url.port
    if url.user is not None:
        found.credentials = pika.PlainCredentials(url.user, url.password)
    return found
