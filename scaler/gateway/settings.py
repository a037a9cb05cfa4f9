"""The gateway's settings."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from common.settings import Settings
from common.urls import EngineUrl


class GatewaySettings(Settings):
    """Where to listen, whom to let in, and bounds of services whose labels name none."""

    docker_host: EngineUrl = "unix:///var/run/docker.sock"
    http_host: str = "0.0.0.0"  # noqa: S104 - a container's own network; bind narrower by setting
    http_port: Annotated[int, Field(ge=0, le=65_535)] = 8081
    gateway_token: Annotated[SecretStr, Field(min_length=16)]
    """The bearer token that the scaler sends."""
    graceful_shutdown_timeout: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """Seconds that a job may take after SIGTERM; a service's stop_grace_period must allow it."""
    min_workers: Annotated[int, Field(ge=0, le=10_000)] = 1
    max_workers: Annotated[int, Field(ge=1, le=10_000)] = 10
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_workers > self.max_workers:
            raise ValueError(f"MIN_WORKERS at most MAX_WORKERS ({self.max_workers})")
        return self
