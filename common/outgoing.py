"""What every outgoing HTTP connection goes by: authorities, certificates, credentials, proxies.

Each service that is asked has a prefix, such as `PROMETHEUS`, and behind it the same endings mean
the same. Nothing else has a part in a connection: neither HTTP_PROXY and the like, which a Docker
client puts into containers by itself and which would send what is for a neighbour to a proxy that
does not know it, nor a `.netrc`. See docs/adr/0084-one-client-policy.md.
"""

from __future__ import annotations

import base64
import os
import re
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from common import urls
from common.errors import HIDDEN, ConfigError, SecretInputError
from common.logs import get
from common.settings import SECRETS_DIR, Settings, load, secrets_in
from common.tls_files import tls_context

_PROXY = urls.Shape(("http",), "[user:password@]host:port", port_needed=True, path=re.compile("/?"))
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
_OURS = {"accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"}
_OURS |= {"proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"}
_log = get("outgoing")


def _split_headers(text: str) -> dict[str, str]:
    """The headers in a setting. Raises SecretInputError, since a value may be a token."""
    found: dict[str, str] = {}
    for part in filter(str.strip, text.split(";")):
        name, _, value = (each.strip() for each in part.partition(":"))
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise SecretInputError("Name: value, several with ; between them, in ASCII")
        if name.lower() in _OURS:
            raise SecretInputError(f"Name: value, but not for {name}, which is the client's own")
        if name.lower() in map(str.lower, found):
            raise SecretInputError(f"Name: value, each name once ({name} is there twice)")
        found[name] = value
    return found


def _token(value: SecretStr) -> SecretStr:
    if not _VALUE.fullmatch(value.get_secret_value()) or " " in value.get_secret_value():
        raise SecretInputError("a token of ASCII characters without spaces")
    return value


def _login(value: SecretStr) -> SecretStr:
    if ":" not in value.get_secret_value():
        raise SecretInputError("user:password")
    return value


def _headers(value: SecretStr) -> SecretStr:
    _split_headers(value.get_secret_value())
    return value


class RouteSettings(Settings):
    """Towards a service whose token is a setting of its own."""

    ca_file: Path | None = None
    """Authority of its certificate, in place of those that the system knows."""
    cert_file: Path | None = None
    """Client certificate, where it asks for one."""
    key_file: Path | None = None
    """Its key, unless that is in the same file."""
    headers: Annotated[SecretStr, AfterValidator(_headers)] | None = None
    """Further headers, `Name: value`, several with `;` between them."""
    proxy_url: Annotated[SecretStr, urls.of_shape(_PROXY)] | None = None
    """`http://[user:password@]host:port` of a proxy on the way; by default none is used."""


class OutgoingSettings(RouteSettings):
    """Towards any other service."""

    bearer_token: Annotated[SecretStr, AfterValidator(_token)] | None = None
    """Sent with each request. As a file it is read again when that changes."""
    basic_auth: Annotated[SecretStr, AfterValidator(_login)] | None = None
    """`user:password`, in place of those in the URL."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy on the way."""

    host: str
    port: int
    authorization: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Terms:
    """What the settings come to."""

    headers: Mapping[str, str] = field(repr=False)
    proxy: Proxy | None
    context: ssl.SSLContext | None
    """None where no file says anything about TLS: then the system's."""


def basic(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class ClientPolicy:
    """How to connect to one service, by the settings behind its prefix. Safe in threads.

    Files are looked at before each request, and read again where they have changed; while they
    can't be used, as in the middle of being replaced, what they last said holds.
    """

    def __init__(
        self,
        prefix: str,
        environ: Mapping[str, str] | None = None,
        model: type[RouteSettings] = OutgoingSettings,
    ) -> None:
        """Raises ConfigError, naming the variable."""
        self.prefix = prefix
        env = os.environ if environ is None else environ
        start = f"{prefix}_"
        self._environ = {
            name: value for name, value in env.items() if name.startswith((start, SECRETS_DIR))
        }
        self._model = model
        self._paths = [
            path for name, path in self._environ.items() if path and name.endswith("_FILE")
        ]
        in_folder = secrets_in(self._environ).items()
        self._paths += [str(path) for name, path in in_folder if name.startswith(start.lower())]
        self._lock = threading.Lock()
        self._seen = self._signature()
        self._terms = self._read()
        self._default: ssl.SSLContext | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """What each request carries, Authorization included where one is set."""
        return self._now().headers

    @property
    def proxy(self) -> Proxy | None:
        """The proxy on the way."""
        return self._now().proxy

    @property
    def about_tls(self) -> bool:
        """Whether any file says something about TLS."""
        return self._now().context is not None

    def context(self) -> ssl.SSLContext:
        """For a connection by TLS; the same one until a file changes."""
        context = self._now().context
        if context is not None:
            return context
        with self._lock:
            if self._default is None:
                self._default = ssl.create_default_context()
            return self._default

    def _now(self) -> _Terms:
        if self._paths:
            signature = self._signature()
            with self._lock:
                if signature != self._seen:
                    self._seen = signature
                    try:
                        self._terms = self._read()
                        _log.info("credentials read again", of=self.prefix)
                    except ConfigError as error:
                        _log.warning("changed files not used", of=self.prefix, reason=str(error))
        return self._terms

    def _signature(self) -> list[tuple[int, int, int] | None]:
        """What changes with the files."""
        return [_state_of(path) for path in self._paths]

    def _read(self) -> _Terms:
        given = load(self._model, environ=self._environ, prefix=f"{self.prefix}_")
        files = (given.ca_file, given.cert_file, given.key_file)
        context = tls_context(self.prefix, *files) if any(files) else None
        return _Terms(MappingProxyType(self._headers(given)), _proxy(given), context)

    def _headers(self, given: RouteSettings) -> dict[str, str]:
        found = _split_headers(given.headers.get_secret_value()) if given.headers else {}
        ways = ["HEADERS"] if "authorization" in map(str.lower, found) else []
        if isinstance(given, OutgoingSettings) and given.bearer_token:
            ways.append("BEARER_TOKEN")
            found["Authorization"] = f"Bearer {given.bearer_token.get_secret_value()}"
        if isinstance(given, OutgoingSettings) and given.basic_auth:
            ways.append("BASIC_AUTH")
            user, _, password = given.basic_auth.get_secret_value().partition(":")
            found["Authorization"] = basic(user, password)
        if len(ways) > 1:
            allowed = f"only one of {' and '.join(f'{self.prefix}_{way}' for way in ways)}"
            raise ConfigError(f"{self.prefix}_{ways[-1]}", HIDDEN, allowed)
        return found


def _proxy(given: RouteSettings) -> Proxy | None:
    if given.proxy_url is None:
        return None
    url = urls.read(given.proxy_url.get_secret_value(), _PROXY)
    login = None if url.user is None else basic(url.user, url.password or "")
    return Proxy(url.host, url.port or 0, login)


def _state_of(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


NO_SETTINGS = ClientPolicy("", {})
"""Connections as the system has them."""
