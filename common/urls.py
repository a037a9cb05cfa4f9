"""URLs in settings: read here alone, strictly, and never shown.

Whoever writes a password into a URL without escaping it has not only given another password: the
host, the port or the path may then be a part of it. So a URL in which anything is out of place is
refused as a whole, and what is said of it has nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from pydantic import AfterValidator, BeforeValidator, SecretStr

from common.errors import HIDDEN, ConfigError, SecretInputError

_TO_ESCAPE = (
    "write # / ? [ ] @ % , and space in user or password as %23 %2F %3F %5B %5D %40 %25 %2C %20"
)
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NAMED_HOST = re.compile(r"[\w.-]+")
_PORT = re.compile(r"0*[1-9][0-9]{0,4}")
_HARMLESS = re.compile(r"(\w+://)?[\w.-]*(:[0-9]*)?(/[\w./-]*)?")
"""In which nothing can be a password."""
_OUT_OF_PLACE = re.compile(r"[\[\]@#]")


@dataclass(frozen=True, slots=True)
class Shape:
    """What the URL of a setting has to look like."""

    schemes: tuple[str, ...]
    rest: str
    """What comes after `://`, for people."""
    credentials: bool = True
    """Whether there may be user and password."""
    port_needed: bool = False
    path: re.Pattern[str] = re.compile("")
    """What the path, as it is written, must match as a whole."""
    query: bool = False
    """Whether there may be parameters after a `?`."""

    @property
    def allowed(self) -> str:
        """In words."""
        begins = " or ".join(f"{scheme}://" for scheme in self.schemes)
        return f"{begins}{self.rest}"


@dataclass(frozen=True, slots=True)
class Url:
    """A URL taken apart; user and password are without escapes."""

    scheme: str
    host: str
    """Without the brackets of an IPv6 address."""
    port: int | None
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)
    path: str = field(repr=False)
    """As it is written."""
    query: str = field(repr=False)
    """As it is written, without the `?`."""


ANY_PATH = re.compile(".*")
BROKER = Shape(
    ("amqp", "amqps"),
    "[user:password@]host[:port][/vhost], a / in the virtual host written as %2F",
    path=re.compile("(/[^/]*)?"),
    query=True,
)
LEDGER = Shape(
    ("redis", "rediss"),
    "[[user]:password@]host[:port][/number]",
    path=re.compile("(/[0-9]{0,5})?"),
    query=True,
)
SERVICE = Shape(
    ("http", "https"),
    "host[:port][/path], user:password@ before the host if need be",
    path=ANY_PATH,
)
OPEN_SERVICE = Shape(
    ("http", "https"),
    "host[:port][/path] without user and password",
    credentials=False,
    path=ANY_PATH,
)
_ENGINE = Shape(
    ("tcp", "http", "https"),
    "host:port, or unix:///path, or ssh://[user@]host[:port]",
    credentials=False,
    port_needed=True,
    path=re.compile("/?"),
)
_ENGINE_BY_SSH = Shape(("ssh",), "[user@]host[:port]", path=re.compile("/?"))
_SOCKET = re.compile(r"unix://[\w./ +,:@~-]+")


def read(text: str, shape: Shape) -> Url:
    """The URL taken apart. Raises SecretInputError, which says what is allowed, but not what
    there was."""
    if not text.isprintable() or any(each.isspace() for each in text):
        raise _refusal(shape, "it has a space or a character that can't be printed")
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in shape.schemes:
        raise _refusal(shape, "it begins with something else")
    end = next((i for i, each in enumerate(rest) if each in "/?#"), len(rest))
    authority, after = rest[:end], rest[end:]
    credentials, at, place = authority.rpartition("@")
    if _OUT_OF_PLACE.search(credentials) or _OUT_OF_PLACE.search(after):
        raise _refusal(shape, "[ ] @ or # is where it can't be")
    path, question, query = after.partition("?")
    if _PERCENT.search(credentials) or _PERCENT.search(after):
        raise _refusal(shape, "a % begins no escape of two hexadecimal digits")
    if (at and not shape.credentials) or (question and not shape.query):
        raise _refusal(shape, "it has more than that")
    host, port = _host_and_port(place, shape)
    if not shape.path.fullmatch(path):
        raise _refusal(shape, "its path is none")
    user, colon, password = credentials.partition(":")
    return Url(
        scheme=scheme.lower(),
        host=host,
        port=port,
        user=_unescaped(user, shape) if at else None,
        password=_unescaped(password, shape) if colon else None,
        path=path,
        query=query,
    )


def require(name: str, text: str, shape: Shape) -> None:
    """Raises ConfigError naming the flag `name` unless `text` is a URL of this shape."""
    try:
        read(text, shape)
    except SecretInputError as error:
        raise ConfigError(name, HIDDEN, str(error)) from None


def unescaped_path(url: Url, shape: Shape) -> str:
    """The path without escapes and its first `/`."""
    return _unescaped(url.path.removeprefix("/"), shape)


def without_credentials(url: str) -> str:
    """`url` without user, password and parameters, fit for a log line or a page."""
    scheme, _, rest = url.partition("://")
    place = re.split("[?#]", rest)[0]
    authority, slash, path = place.partition("/")
    if "@" in path:
        return f"{scheme}://…"  # where the password ends nobody can tell
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def checked(check: Callable[[str], object]) -> BeforeValidator:
    """For a field whose value is a URL, or a SecretStr of one: `check` raises SecretInputError.

    What has no place for a password may be shown; of a SecretStr nothing ever is, see `load`.
    """

    def validate(value: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not isinstance(text, str):
            raise SecretInputError("a URL")
        try:
            check(text)
        except SecretInputError as error:
            if _HARMLESS.fullmatch(text):
                raise ValueError(str(error)) from None
            raise
        return value

    return BeforeValidator(validate)


def of_shape(shape: Shape) -> BeforeValidator:
    """For a field whose value is a URL of this shape, or a SecretStr of one."""
    return checked(lambda text: read(text, shape))


def _read_engine(text: str) -> None:
    if text.startswith("unix://"):
        if not _SOCKET.fullmatch(text):
            raise _refusal(_ENGINE, "the socket's path has characters that it can't have")
    elif not text.startswith("ssh://"):
        read(text, _ENGINE)
    elif read(text, _ENGINE_BY_SSH).password is not None:
        raise _refusal(_ENGINE, "there is no password")


def _without_slash(value: str) -> str:
    return value.rstrip("/")


LedgerUrl = Annotated[SecretStr, of_shape(LEDGER)]
"""Of Redis."""
ServiceUrl = Annotated[str, of_shape(SERVICE), AfterValidator(_without_slash)]
"""What paths are put behind."""
EngineUrl = Annotated[str, checked(_read_engine)]
"""Of a Docker engine, as docker-py reads it."""
OpenServiceUrl = Annotated[str, of_shape(OPEN_SERVICE), AfterValidator(_without_slash)]
"""The same without credentials, as everybody may see it or others are given."""


def _refusal(shape: Shape, why: str) -> SecretInputError:
    escapes = f"; {_TO_ESCAPE}" if shape.credentials else ""
    return SecretInputError(f"{shape.allowed}{escapes} ({why})")


def _host_and_port(place: str, shape: Shape) -> tuple[str, int | None]:
    if place.startswith("["):
        host, bracket, after = place[1:].partition("]")
        if not bracket or not _is_ipv6(host) or (after and not after.startswith(":")):
            raise _refusal(shape, "there is no IPv6 address in the brackets, or none but that")
        port = after.removeprefix(":")
    else:
        host, _, port = place.partition(":")
        if not _NAMED_HOST.fullmatch(host):
            raise _refusal(shape, "there is no host; an IPv6 address needs brackets")
    if not port and shape.port_needed:
        raise _refusal(shape, "there is no port")
    if port and not (_PORT.fullmatch(port) and int(port) <= 65_535):
        raise _refusal(shape, "the port is no number from 1 to 65535")
    return host, int(port) if port else None


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _unescaped(text: str, shape: Shape) -> str:
    try:
        plain = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise _refusal(shape, "its escapes are no UTF-8") from None
    if "\0" in plain:
        raise _refusal(shape, "%00 stands for no character")
    return plain
