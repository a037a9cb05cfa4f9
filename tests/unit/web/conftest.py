"""The app over a controller in memory, asked without a socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from common.http import HttpSettings
from scaler.loop.controller import Controller
from scaler.policy.target import Target
from scaler.web.access import Access
from scaler.web.app import create_app
from tests.support.crew import Crew, board_of, controller_of

LOOK, ACT = "look-token-of-tests", "act-token-of-tests"


@pytest.fixture
def crew() -> Crew:
    crew = Crew()
    crew.states["video-creator"] = {"w-1": "busy", "w-2": "idle"}
    return crew


@pytest.fixture
def controller(crew: Crew, tmp_path: Path) -> Iterator[Controller]:
    targets = [Target(max_workers=5), Target(name="other", queue="other", service="other")]
    controller = controller_of(crew, targets, tmp_path)
    yield controller
    controller.history.close()


@pytest.fixture
def client(crew: Crew, controller: Controller) -> TestClient:
    """Without credentials, to a server that asks for them."""
    http = HttpSettings(http_bearer_token=SecretStr(LOOK))
    access = Access(http, SecretStr(ACT))
    app = create_app(board_of(crew, controller), access, health_check=lambda: None)
    return TestClient(app, base_url="http://scaler:8080")
