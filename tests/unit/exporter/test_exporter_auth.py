"""Pages behind a password that is known by its hash."""

from __future__ import annotations

import base64
import urllib.error
import urllib.request
from collections.abc import Iterator

import bcrypt
import pytest
from pydantic import SecretStr

from common.http import HttpSettings, Response, Server


@pytest.fixture
def url() -> Iterator[str]:
    hashed = bcrypt.hashpw(b"right:password", bcrypt.gensalt(4)).decode()
    settings = HttpSettings(
        http_host="127.0.0.1", http_basic_auth_bcrypt=SecretStr(f"prometheus:{hashed}")
    )
    routes = {"/metrics": lambda _: Response("ok"), "/-/healthy": lambda _: Response("ok")}
    with Server(settings, routes, name="test") as server:
        yield f"http://127.0.0.1:{server.port}"


def status(url: str, pair: str | None = None) -> int:
    headers = {}
    if pair is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_right_password_passes_again_and_again(url: str) -> None:
    assert [status(f"{url}/metrics", "prometheus:right:password") for _ in range(3)] == [200] * 3


@pytest.mark.parametrize(
    "pair", ["prometheus:wrong", "other:right:password", "prometheus:", ":", "x" * 500, "ü:\0"]
)
def test_anything_else_does_not(url: str, pair: str) -> None:
    assert status(f"{url}/metrics", "prometheus:right:password") == 200
    assert status(f"{url}/metrics", pair) == 401


def test_health_asks_nobody(url: str) -> None:
    assert status(f"{url}/metrics") == 401
    assert status(f"{url}/-/healthy") == 200
