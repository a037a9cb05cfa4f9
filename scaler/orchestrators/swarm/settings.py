"""The settings of the Swarm orchestrator."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from common.settings import Settings
from common.urls import EngineUrl, OpenServiceUrl


class SwarmSettings(Settings):
    """Where the Swarm is and what it must grant its workers."""

    docker_host: EngineUrl = "unix:///var/run/docker.sock"
    gateway_url: OpenServiceUrl | None = None
    """http://host:port of the gateway; without it the engine is spoken to directly."""
    gateway_token: SecretStr | None = None
    graceful_shutdown_timeout: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """Seconds that a job may take after SIGTERM; a service's stop_grace_period must allow it. The
    gateway has its own. Default: that of `worker:` in the file."""

    @model_validator(mode="after")
    def _token_given(self) -> Self:
        if self.gateway_url and self.gateway_token is None:
            raise ValueError("GATEWAY_URL only together with GATEWAY_TOKEN")
        return self
