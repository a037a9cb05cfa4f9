"""The HTTP surface, over a real socket."""

from __future__ import annotations

import base64
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry, Gauge
from pydantic import SecretStr

from common.errors import ConfigError
from common.http import HttpSettings, Response, Server, health, metrics
from common.settings import load


def boom(_: object) -> Response:
    raise RuntimeError("secret detail")


@contextmanager
def served(settings: HttpSettings | None = None) -> Iterator[str]:
    registry = CollectorRegistry()
    Gauge("sample_value", "One.", registry=registry).set(3)
    routes = {
        "/metrics": metrics(registry),
        "/-/healthy": health(lambda: None),
        "/-/ready": health(lambda: "warming up"),
        "/boom": boom,
    }
    chosen = settings or HttpSettings(http_host="127.0.0.1")
    with Server(chosen, routes, name="test") as server:
        yield f"http://127.0.0.1:{server.port}"


def get(url: str, authorization: str = "") -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Authorization": authorization})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metrics_and_health() -> None:
    with served() as url:
        assert "sample_value 3.0" in get(f"{url}/metrics")[1]
        assert get(f"{url}/-/healthy") == (200, "ok\n")
        assert get(f"{url}/-/ready") == (503, "warming up\n")


def test_unknown_page_names_what_there_is() -> None:
    with served() as url:
        status, text = get(f"{url}/nowhere")
    assert status == 404
    assert "/metrics" in text


def test_a_failing_page_tells_nothing_of_its_inside() -> None:
    with served() as url:
        status, text = get(f"{url}/boom")
    assert status == 500
    assert "secret" not in text


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("", 401),
        ("Bearer wrong", 401),
        ("Bearer t0ken", 200),
        ("bearer t0ken", 200),
        ("Basic " + base64.b64encode(b"me:pass").decode(), 200),
        ("Basic " + base64.b64encode(b"me:wrong").decode(), 401),
        ("Basic ~~~", 401),
    ],
)
def test_credentials_are_asked_for_but_not_by_health(authorization: str, status: int) -> None:
    settings = HttpSettings(
        http_host="127.0.0.1",
        http_bearer_token=SecretStr("t0ken"),
        http_basic_auth=SecretStr("me:pass"),
    )
    with served(settings) as url:
        assert get(f"{url}/metrics", authorization)[0] == status
        assert get(f"{url}/-/healthy")[0] == 200


def test_a_taken_port_is_a_configuration_error() -> None:
    with served() as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(ConfigError, match="HTTP_PORT"):
            Server(HttpSettings(http_host="127.0.0.1", http_port=port), {}, name="second")


def test_a_port_that_cannot_be_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="HTTP_PORT") as caught:
        load(HttpSettings, environ={"HTTP_PORT": "99999"})
    assert "65535" in str(caught.value)
