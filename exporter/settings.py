"""The exporter's settings: which queues, where the sources are, what counts as unhealthy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from common.amqp import BrokerSettings
from common.http import HttpSettings
from common.ledger import LedgerSettings
from common.settings import PlainName
from common.urls import SERVICE, of_shape


def _listed(value: Any) -> Any:
    """A comma-separated text as a tuple; anything else as it is."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Patterns = Annotated[tuple[PlainName, ...], BeforeValidator(_listed)]


class ExporterSettings(BrokerSettings, LedgerSettings, HttpSettings):
    """Each field is set by the environment variable of its name in capitals."""

    http_port: Annotated[int, Field(ge=0, le=65_535)] = 9419
    queues: Patterns = ("video-queue",)
    """Names, or patterns with `*` and `?`, comma-separated. Patterns need `management_url`."""
    queues_exclude: Patterns = ()
    """Patterns of queues to leave out although `queues` names them."""
    vhosts: Patterns = ()
    """Virtual hosts, or patterns of them; default: the one in `rabbit_url`."""
    management_url: Annotated[SecretStr, of_shape(SERVICE)] | None = None
    """http(s)://user:password@host:port of the management API; default: not asked."""
    discovery_interval: Annotated[float, Field(ge=1, le=3600)] = 15.0
    """Seconds between two listings of the queues that patterns are matched with."""
    heartbeat_interval: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """Seconds between two heartbeats of a worker (default: `worker.heartbeat_interval`)."""
    unhealthy_after_heartbeats: Annotated[float, Field(ge=1, le=1000)] = 3.0
    """A worker is unhealthy when not seen for this many heartbeats."""
    health_check_interval: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """Or when not seen for this many seconds, where that is set (default:
    `scaling.health_check_interval`). Not less than `heartbeat_interval`."""
    forget_after: Annotated[float, Field(gt=0, le=31_536_000)] = 600.0
    """Seconds after which a worker that is not seen is no longer reported."""
    scrape_timeout: Annotated[float, Field(gt=0, le=600)] = 10.0
    """Seconds for a scrape whose header gives no deadline."""
    alert_thresholds_config_path: Path | None = None
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"

    @field_validator("queues")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("at least one queue name or pattern")
        return value

    @field_validator("health_check_interval")
    @classmethod
    def _beats_within(cls, value: float | None, info: ValidationInfo) -> float | None:
        heartbeat = info.data.get("heartbeat_interval")
        if value is not None and heartbeat is not None and value < heartbeat:
            raise ValueError(f"at least heartbeat_interval, which is {heartbeat:g}")
        return value

    @property
    def unhealthy_after_s(self) -> float:
        """Seconds without a heartbeat after which a worker is unhealthy."""
        if self.health_check_interval is not None:
            return self.health_check_interval
        return self.heartbeat_interval * self.unhealthy_after_heartbeats
