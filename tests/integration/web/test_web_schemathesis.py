"""Generated requests against every route: none is answered with a 5xx or against its schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from pydantic import SecretStr
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from common.http import HttpSettings
from scaler.policy.target import Target
from scaler.web.access import Access, Rate, Rates
from scaler.web.app import create_app
from tests.support.crew import Crew, board_of, controller_of

pytestmark = pytest.mark.integration
ACT = "act-token-of-tests"
MANY = Rate(1e6, 1e6)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    crew = Crew()
    crew.states["video-creator"] = {"w-1": "busy", "w-2": "idle"}
    folder: Path = tmp_path_factory.mktemp("history")
    controller = controller_of(crew, [Target()], folder)
    access = Access(HttpSettings(), SecretStr(ACT))
    yield create_app(
        board_of(crew, controller),
        access,
        health_check=lambda: None,
        rates=Rates(requests=MANY, actions=MANY, failures=MANY),
    )
    controller.history.close()


@pytest.fixture(scope="module")
def api(app: FastAPI) -> Any:
    # The stream of events has no end, so a generated request would never come back.
    return schemathesis.openapi.from_asgi("/api/openapi.json", app).exclude(path_regex=r"/events$")


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


HARD = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def ask(case: Any, app: FastAPI) -> None:
    headers = {"Authorization": f"Bearer {ACT}"}
    if case.method == "POST":
        nonce = TestClient(app).get("/api/nonce", headers=headers).json()["nonce"]
        headers["X-Action-Nonce"] = nonce
    name = (case.path_parameters or {}).get("name")
    if isinstance(name, str) and len(name) % 2:
        # Half of them reach a target that there is.
        case.path_parameters["name"] = "video-creator"
    case.call_and_validate(headers=headers, checks=CHECKS)


def test_no_request_breaks_it(api: Any, app: FastAPI) -> None:
    asked = []
    for found in api.get_all_operations():
        operation = found.ok()
        asked.append(operation.label)
        HARD(given(case=operation.as_strategy())(lambda case: ask(case, app)))()
    assert len(asked) >= 15
