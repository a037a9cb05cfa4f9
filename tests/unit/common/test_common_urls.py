"""URLs of settings: what is read of them, what is refused, and that nothing of them is shown."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from common.amqp import BrokerSettings, addresses, parameters
from common.errors import ConfigError, SecretInputError
from common.ledger import Ledger
from common.outgoing import OutgoingSettings
from common.settings import Settings, load
from common.urls import BROKER, LEDGER, SERVICE, Shape, read, without_credentials
from exporter.settings import ExporterSettings
from scaler.commands.api_client import ClientSettings
from scaler.config.load import ProgramSection
from scaler.gateway.settings import GatewaySettings
from scaler.orchestrators.swarm.settings import SwarmSettings
from scaler.run import RunSettings
from scaler.web.settings import WebSettings
from worker.settings import WorkerSettings

RESERVED = "#/?[]@% \t\r\n\x00\x1b\x7f\u2028"
GIVEN = {
    "RABBIT_URL": "amqp://user:word@broker",
    "REDIS_URL": "redis://ledger",
    "GATEWAY_TOKEN": "a-token-for-tests-only",
}
# Each URL that a program is told, with what stands before user and password.
URLS: dict[str, tuple[type[Settings], str]] = {
    "RABBIT_URL": (WorkerSettings, "amqp://"),
    "REDIS_URL": (WorkerSettings, "redis://"),
    "ELEVENLABS_URL": (WorkerSettings, "https://"),
    "INTERRUPTION_NOTICE": (WorkerSettings, "http://"),
    "OUTPUT": (WorkerSettings, "s3://"),
    "MANAGEMENT_URL": (ExporterSettings, "http://"),
    "PROMETHEUS_URL": (ProgramSection, "https://"),
    "PROMETHEUS_LINK_URL": (WebSettings, "http://"),
    "GRAFANA_LINK_URL": (WebSettings, "http://"),
    "DOCKER_HOST": (GatewaySettings, "tcp://"),
    "GATEWAY_URL": (SwarmSettings, "http://"),
    "SCALER_URL": (ClientSettings, "http://"),
    "PROXY_URL": (OutgoingSettings, "http://"),
}


def pieces(secret: str) -> set[str]:
    """Whatever of it would tell something."""
    return {secret, *(secret[i : i + 4] for i in range(len(secret) - 3))}


def refusal(variable: str, value: str) -> str:
    """What is said of the variable; "" where it is taken."""
    model, _ = URLS[variable]
    known = {name: GIVEN[name] for name in GIVEN if name.lower() in model.model_fields}
    try:
        load(model, environ={**known, variable: value})
    except ConfigError as error:
        return str(error)
    return ""


def settings_classes(base: type[BaseModel] = Settings) -> Iterator[type[BaseModel]]:
    for each in base.__subclasses__():
        yield each
        yield from settings_classes(each)


def test_every_url_that_a_program_is_told_is_among_these() -> None:
    found = {
        name.upper()
        for model in settings_classes()
        if model.__module__.partition(".")[0] in ("common", "exporter", "scaler", "worker")
        for name in model.model_fields
        if name.endswith(("_url", "docker_host"))
    }
    assert found <= URLS.keys()


words = st.text("QZXJKV0123456789", min_size=1, max_size=9)


@st.composite
def unescaped(draw: st.DrawFn) -> str:
    """A password with something in it that a URL can't have as it is."""
    inside = draw(st.lists(st.sampled_from(RESERVED), min_size=1, max_size=4))
    parts = draw(st.lists(words, min_size=len(inside) + 1, max_size=len(inside) + 1))
    return "".join(itertools.chain.from_iterable(zip(parts, [*inside, ""], strict=True)))


@pytest.mark.parametrize("variable", URLS)
@given(password=unescaped(), host=st.sampled_from(["host", "host:1", "[::1]:5", ""]))
def test_a_password_without_escapes_is_refused_and_not_shown(
    variable: str, password: str, host: str
) -> None:
    _, begin = URLS[variable]
    said = refusal(variable, f"{begin}user:{password}@{host}/")
    if not said:
        # It reads as another password, escaped.
        assert "%" in password
        assert not set(password) & (set(RESERVED) - {"%"})
        return
    assert said.startswith(f"{variable}: (not shown) is not allowed; allowed: ")
    assert said.isprintable()
    fixed = refusal(variable, f"{begin}user:word@host\x00")
    told = {each for each in pieces(password) if each in said and each not in fixed}
    assert not told


@given(st.text(max_size=12), st.text(min_size=1, max_size=12))
@example("p,w", "a,b")
@example("#/?[]@% ", "\t\x1b\r\n")
def test_with_escapes_any_user_and_password_are_read_as_they_are(password: str, user: str) -> None:
    assume("\0" not in user + password)
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    (broker,) = addresses(f"amqp://{login}@host:1/%2F")
    assert (broker.credentials.username, broker.credentials.password) == (user, password)
    assert (broker.host, broker.port, broker.virtual_host) == ("host", 1, "/")
    for begin, shape in (("redis", LEDGER), ("https", SERVICE)):
        url = read(f"{begin}://{login}@host", shape)
        assert (url.user, url.password) == (user, password)
        assert password not in repr(url).replace("None", "") or len(password) < 4


@pytest.mark.parametrize("shape", [BROKER, LEDGER, SERVICE])
@given(st.text(max_size=40) | st.text("aq:/?#[]@%0., \n", max_size=30))
def test_no_text_does_anything_but_be_read_or_refused(shape: Shape, text: str) -> None:
    for url in (text, f"{shape.schemes[0]}://{text}"):
        try:
            got = read(url, shape)
        except SecretInputError:
            continue
        assert got.host
        assert got.port is None or 0 < got.port < 65_536


@given(st.text(max_size=60))
def test_no_text_does_anything_but_be_addresses_or_be_refused(text: str) -> None:
    for url in (text, f"amqp://{text}", f"amqp://host/?{text}", f"amqp://host?heartbeat={text}"):
        try:
            found = addresses(url)
        except SecretInputError:
            continue
        assert found


@pytest.mark.parametrize(
    ("url", "host", "port", "vhost"),
    [
        ("amqp://broker", "broker", 5672, "/"),
        ("amqps://broker", "broker", 5671, "/"),
        ("AMQP://broker:1", "broker", 1, "/"),
        ("amqp://broker:/", "broker", 5672, "/"),
        ("amqp://broker/", "broker", 5672, "/"),
        ("amqp://broker/%2f", "broker", 5672, "/"),
        ("amqp://broker/%2Fa%2Fb", "broker", 5672, "/a/b"),
        ("amqp://broker/team-1", "broker", 5672, "team-1"),
        ("amqp://broker/%C3%A4", "broker", 5672, "ä"),
        ("amqp://u:p@[::1]:5673/v", "::1", 5673, "v"),
        ("amqp://broker?heartbeat=", "broker", 5672, "/"),
        ("amqp://u:@broker_1.swarm/v?heartbeat=7&frame_max=8192", "broker_1.swarm", 5672, "v"),
    ],
)
def test_what_the_broker_s_address_means(url: str, host: str, port: int, vhost: str) -> None:
    (found,) = addresses(url)
    assert (found.host, found.port, found.virtual_host) == (host, port, vhost)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "something else"),
        ("broker", "something else"),
        ("http://broker", "something else"),
        ("amqp://", "no host"),
        ("amqp:///v", "no host"),
        ("amqp://u:p@", "no host"),
        ("amqp://:5672", "no host"),
        ("amqp://::1", "brackets"),
        ("amqp://[::1", "brackets"),
        ("amqp://[::g]", "brackets"),
        ("amqp://[::1]5672", "brackets"),
        ("amqp://broker:0", "65535"),
        ("amqp://broker:65536", "65535"),
        ("amqp://broker:-1", "65535"),
        ("amqp://broker:+1", "65535"),
        ("amqp://broker:٣", "65535"),
        ("amqp://broker:5672x", "65535"),
        ("amqp://u:p@broker:5672:5672", "65535"),
        ("amqp://u:%4@broker", "two hexadecimal digits"),
        ("amqp://u:%zz@broker", "two hexadecimal digits"),
        ("amqp://u:p@broker/%", "two hexadecimal digits"),
        ("amqp://u:%ff@broker", "UTF-8"),
        ("amqp://u:%00@broker", "%00"),
        ("amqp://u:p@broker/%0a", "printable"),
        ("amqp://u:p@broker/" + "v" * 256, "255"),
        ("amqp://u:p@broker//", "path"),
        ("amqp://u:p@broker/a/b", "path"),
        ("amqp://u@broker", "both"),
        ("amqp://:p@broker", "both"),
        ("amqp://u:p@broker/v#x", "where it can't be"),
        ("amqp://u:p@p@broker", "where it can't be"),
        ("amqp://u:p@broker/?timeout=3", "pika"),
        ("amqp://u:p@broker/?heartbeat=x", "pika"),
        ("amqp://u:p@broker/?heartbeat=1&heartbeat=2", "pika"),
        ("amqp://u:p@broker/?frame_max=1", "pika"),
        ("amqp://u:p@broker/?client_properties=(", "pika"),
        ("amqp://u:p@one,", "something else"),
        ("amqp://u:p@one/a,amqp://u:p@two/b", "more than one"),
        ("amqp://u:p@one,amqp://u:p@two:x", "65535"),
    ],
)
def test_what_is_no_broker_s_address_and_why(url: str, why: str) -> None:
    with pytest.raises(SecretInputError, match=r"amqp:// or amqps://") as caught:
        addresses(url)
    assert why in str(caught.value)


def test_several_addresses_keep_their_order_and_what_is_set_for_all() -> None:
    given = BrokerSettings(rabbit_url="amqp://u:p%2C@one:1/v, amqp://[::1]/v")  # type: ignore[arg-type]
    found = parameters(given, name="a program", heartbeat_s=7, timeout_s=2)
    assert [(each.host, each.port, each.virtual_host) for each in found] == [
        ("one", 1, "v"),
        ("::1", 5672, "v"),
    ]
    assert found[0].credentials.password == "p,"
    assert {each.heartbeat for each in found} == {7}
    assert {each.client_properties["connection_name"] for each in found} == {"a program"}


@pytest.mark.parametrize("field", ["rabbit_ca_file", "rabbit_cert_file"])
def test_a_file_for_tls_that_can_t_be_used_is_named(field: str, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("no certificate")
    for path in ("absent", "file"):
        given = {"rabbit_url": "amqps://u:p@one", field: tmp_path / path}
        with pytest.raises(ConfigError) as caught:
            parameters(BrokerSettings(**given), name="a program")
        assert caught.value.field == field.upper()


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("REDIS_URL", "redis://ledger/x", "[/number]"),
        ("REDIS_URL", "unix:///run/redis.sock", "redis:// or rediss://"),
        ("MANAGEMENT_URL", "http://u:p@broker?x=1", "more than that"),
        ("GATEWAY_URL", "http://u:p@gateway", "without user and password"),
        ("GRAFANA_LINK_URL", "http://u:p@grafana", "without user and password"),
        ("ELEVENLABS_URL", "ftp://voices", "http:// or https://"),
        ("INTERRUPTION_NOTICE", "ftp://here", "a file's path"),
        ("OUTPUT", "s3://key:word@bucket", "without credentials"),
        ("OUTPUT", "https://bucket", "s3://bucket/prefix"),
        ("DOCKER_HOST", "tcp://manager", "no port"),
        ("DOCKER_HOST", "manager", "unix:///path"),
        ("DOCKER_HOST", "unix://", "socket"),
        ("DOCKER_HOST", "ssh://u:p@manager", "no password"),
        ("DOCKER_HOST", "fd://", "something else"),
        ("SCALER_URL", "scaler:8080", "http:// or https://"),
    ],
)
def test_each_has_its_own_shape(variable: str, value: str, words: str) -> None:
    assert words in refusal(variable, value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REDIS_URL", "rediss://:p@ledger:6380/1?ssl_ca_certs=/ca.crt"),
        ("MANAGEMENT_URL", "https://u:p@[::1]:15671/path/"),
        ("INTERRUPTION_NOTICE", "http://169.254.169.254/latest?x=y"),
        ("INTERRUPTION_NOTICE", "/run/notice"),
        ("OUTPUT", "s3://bucket/some prefix/100%"),
        ("OUTPUT", "data/my videos"),
        ("DOCKER_HOST", "unix:///var/run/docker.sock"),
        ("DOCKER_HOST", "tcp://127.0.0.1:2375"),
        ("DOCKER_HOST", "ssh://user@manager"),
        ("GRAFANA_LINK_URL", "https://monitoring/grafana/"),
    ],
)
def test_what_is_right_is_taken(variable: str, value: str) -> None:
    assert refusal(variable, value) == ""


@pytest.mark.parametrize("model", [WorkerSettings, ExporterSettings, RunSettings])
def test_the_ledger_s_address_is_the_same_for_every_program(model: type[Settings]) -> None:
    environ = {"RABBIT_URL": GIVEN["RABBIT_URL"], "REDIS_URL": "redis://:se#cret@ledger"}
    with pytest.raises(ConfigError, match=r"REDIS_URL: \(not shown\)"):
        load(model, environ=environ)


@pytest.mark.parametrize("query", ["foo=1", "protocol=x", "db=x", "ssl_cert_reqs=never"])
def test_parameters_that_the_ledger_s_client_does_not_know_are_refused_at_once(query: str) -> None:
    with pytest.raises(ConfigError, match=r"REDIS_URL: \(not shown\)") as caught:
        Ledger.connect(f"rediss://:secret@ledger/0?{query}")
    assert query not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://u:p@host:1/v", "amqp://host:1/v"),
        ("http://host/a/b?token=x#y", "http://host/a/b"),
        ("http://u:p/w@host/", "http://…"),
        ("http://host", "http://host"),
    ],
)
def test_credentials_are_left_out_of_urls(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
