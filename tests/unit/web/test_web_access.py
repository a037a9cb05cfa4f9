"""Who may look and act; what else is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from common.http import HttpSettings
from scaler.loop.controller import Controller
from scaler.web.access import Access, Nonces, Rate, RateLimit, Rates, Role
from scaler.web.app import create_app
from tests.support.crew import Crew, board_of

LOOK = {"Authorization": "Bearer look-token-of-tests"}
ACT = {"Authorization": "Bearer act-token-of-tests"}
PAUSE = "/api/targets/video-creator/pause"
BODY = {"reason": "a deploy"}
LOOKS = (
    "/metrics",
    "/metrics/dashboard",
    "/api/openapi.json",
    "/api/session",
    "/api/system",
    "/api/targets",
    "/api/targets/video-creator",
    "/api/targets/video-creator/decisions",
    "/api/targets/video-creator/explanation",
    "/api/targets/video-creator/workers",
    "/api/targets/video-creator/chart",
    "/api/targets/video-creator/events",
    "/api/targets/video-creator/orders",
)
ACTIONS = {
    "pause": {"reason": "r"},
    "resume": {"reason": "r"},
    "override": {"reason": "r", "replicas": 2, "for_seconds": 60},
}


def nonce(client: TestClient) -> str:
    answer = client.get("/api/nonce", headers=ACT)
    return str(answer.json()["nonce"])


def act(client: TestClient, **headers: str) -> Any:
    given = {**ACT, "X-Action-Nonce": nonce(client), **headers}
    return client.post(PAUSE, json=BODY, headers=given)


@pytest.mark.parametrize("path", LOOKS)
def test_looking_takes_credentials(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 401
    assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get(path, headers={"Authorization": "Basic !!"}).status_code == 401


def test_health_and_the_page_itself_are_open(client: TestClient) -> None:
    for path in ("/-/healthy", "/-/ready", "/", "/static/page.js"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize("order", ACTIONS)
def test_acting_takes_the_act_token(client: TestClient, controller: Controller, order: str) -> None:
    path = f"/api/targets/video-creator/{order}"
    fresh = {"X-Action-Nonce": nonce(client)}
    assert client.post(path, json=ACTIONS[order], headers=fresh).status_code == 401
    wrong = {**fresh, "Authorization": "Bearer wrong"}
    assert client.post(path, json=ACTIONS[order], headers=wrong).status_code == 401
    assert client.post(path, json=ACTIONS[order], headers={**fresh, **LOOK}).status_code == 403
    assert controller.history.orders("video-creator") == []
    assert client.post(path, json=ACTIONS[order], headers={**fresh, **ACT}).status_code == 200
    assert [kept["order"] for kept in controller.history.orders("video-creator")] == [order]


def test_looking_gives_no_nonce(client: TestClient) -> None:
    assert client.get("/api/nonce", headers=LOOK).status_code == 403


def test_a_recorded_action_cannot_be_replayed(client: TestClient, controller: Controller) -> None:
    headers = {**ACT, "X-Action-Nonce": nonce(client)}
    assert client.post(PAUSE, json=BODY, headers=headers).status_code == 200
    assert client.post(PAUSE, json=BODY, headers=headers).status_code == 403
    assert len(controller.history.orders("video-creator")) == 1


@pytest.mark.parametrize("made_up", ["", "1.2.3", "9e99.aa.bb", "🔥".encode().decode("latin1")])
def test_a_made_up_nonce_is_refused(client: TestClient, made_up: str) -> None:
    headers = {name: value.encode("latin1") for name, value in ACT.items()}
    headers["X-Action-Nonce"] = made_up.encode("latin1")
    raw = {name.encode(): value for name, value in headers.items()}
    assert client.post(PAUSE, json=BODY, headers=raw).status_code == 403


@pytest.mark.parametrize(
    "foreign",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://scaler:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_requests_of_other_sites_are_refused(
    client: TestClient, controller: Controller, foreign: dict[str, str]
) -> None:
    assert act(client, **foreign).status_code == 403
    assert controller.history.orders("video-creator") == []


def test_the_pages_own_requests_pass(client: TestClient) -> None:
    own = {"Origin": "http://scaler:8080", "Sec-Fetch-Site": "same-origin"}
    assert act(client, **own).status_code == 200


def test_what_a_form_could_send_is_refused(client: TestClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        headers = {**ACT, "X-Action-Nonce": nonce(client), "Content-Type": kind}
        answer = client.post(PAUSE, content=b'{"reason": "x"}', headers=headers)
        assert answer.status_code == 415


def test_no_answer_lets_other_origins_read(client: TestClient) -> None:
    headers = {**LOOK, "Origin": "http://evil.example"}
    answer = client.get("/api/targets", headers=headers)
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_body_that_is_too_large_is_refused(client: TestClient) -> None:
    headers = {**ACT, "X-Action-Nonce": nonce(client)}
    answer = client.post(PAUSE, json={"reason": "x" * 5000}, headers=headers)
    assert answer.status_code == 413


def test_guessing_is_slowed_down(client: TestClient) -> None:
    answers = [
        client.get("/api/targets", headers={"Authorization": f"Bearer {n}"}).status_code
        for n in range(30)
    ]
    assert answers[0] == 401
    assert answers[-1] == 429


def test_asking_too_often_is_refused(crew: Crew, controller: Controller) -> None:
    access = Access(HttpSettings(), None)
    rates = Rates(requests=Rate(0.001, 3))
    app = create_app(board_of(crew, controller), access, health_check=lambda: None, rates=rates)
    client = TestClient(app)
    assert [client.get("/api/targets").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert client.get("/-/healthy").status_code == 200


def test_without_an_act_token_nobody_acts(crew: Crew, controller: Controller) -> None:
    access = Access(HttpSettings(), None)
    client = TestClient(create_app(board_of(crew, controller), access, health_check=lambda: None))
    assert client.get("/api/targets").status_code == 200
    assert client.post(PAUSE, json=BODY, headers={"Authorization": "Bearer "}).status_code == 403


def test_the_page_allows_nothing_but_its_own(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_roles() -> None:
    http = HttpSettings(
        http_bearer_token=SecretStr("look"), http_basic_auth=SecretStr("user:secret")
    )
    access = Access(http, SecretStr("act"))
    assert access.role("Bearer look") is Role.LOOK
    assert access.role("bearer act") is Role.ACT
    assert access.role("Basic dXNlcjpzZWNyZXQ=") is Role.LOOK
    for nothing in ("", "Bearer", "Bearer ", "Basic act", "act", "Bearer acт"):
        assert access.role(nothing) is None


def test_nonces_end() -> None:
    now = [0.0]
    nonces = Nonces(lambda: now[0])
    early, late = nonces.issue(), nonces.issue()
    now[0] = 59
    assert nonces.accept(early)
    now[0] = 61
    assert not nonces.accept(late)
    assert not nonces.accept(early)


def test_a_rate_limit_recovers() -> None:
    now = [0.0]
    limit = RateLimit(Rate(per_s=1, burst=2), lambda: now[0])
    assert [limit.allows("a") for _ in range(3)] == [True, True, False]
    assert limit.allows("b")
    now[0] = 1
    assert limit.allows("a")


def test_used_nonces_are_bounded_and_none_is_taken_twice() -> None:
    now = [0.0]
    nonces = Nonces(lambda: now[0])
    issued = [nonces.issue() for _ in range(5_000)]
    taken = [nonce for nonce in issued if nonces.accept(nonce)]
    assert len(taken) == 4_096
    assert not any(nonces.accept(nonce) for nonce in taken)
    now[0] = 61
    assert nonces.accept(nonces.issue())
    assert len(nonces._used) == 1


def test_addresses_without_end_take_a_bounded_memory() -> None:
    limit = RateLimit(Rate(per_s=1, burst=2), lambda: 0.0)
    for number in range(10_000):
        limit.allows(f"10.0.{number // 256}.{number % 256}")
    assert len(limit._buckets) == 4_096
