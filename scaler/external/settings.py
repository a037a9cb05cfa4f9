"""Settings of the gRPC service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from common.settings import Settings

Seconds = Annotated[float, Field(gt=0, le=86_400)]
AccessLogMode = Literal["changes", "all", "off"]


class ExternalScalerSettings(Settings):
    """Where to listen, whom to trust, and how much to take."""

    grpc_host: str = "0.0.0.0"  # noqa: S104 - a container's own network; bind narrower by setting
    grpc_port: Annotated[int, Field(ge=0, le=65_535)] = 6000
    """0 takes a free port."""

    grpc_tls_cert_file: Path | None = None
    grpc_tls_key_file: Path | None = None
    """With both, TLS only. Read again at a handshake after they have changed."""
    grpc_client_ca_file: Path | None = None
    """With it, only clients with a certificate of this authority are let in."""

    grpc_deadline_s: Seconds = 2.0
    """The longest that a unary call takes."""
    grpc_query_timeout_s: Seconds = 1.5
    """The longest that Prometheus may take over one query."""
    grpc_tick_s: Seconds = 5.0
    """Each query is evaluated at most once in this time, however many ask."""
    grpc_stream_tick_s: Seconds = 1.0
    """The same for queries that a stream waits on."""
    grpc_heartbeat_s: Seconds = 30.0
    """StreamIsActive repeats itself after so long without a change."""
    grpc_decision_max_age_s: Seconds = 120.0
    """A decision older than this is unknown."""
    grpc_max_connection_age_s: Annotated[float, Field(ge=0, le=86_400)] = 600.0
    """Connections and streams end cleanly after about this time, so that clients spread over
    replicas; 0 keeps them."""

    grpc_max_streams: Annotated[int, Field(ge=0)] = 4_000
    grpc_max_calls: Annotated[int, Field(ge=1)] = 1_000
    """Calls answered at the same time, streams not counted."""
    grpc_max_metadata_bytes: Annotated[int, Field(ge=1)] = 16_384
    """Names and values of one trigger's metadata together."""
    grpc_max_queries: Annotated[int, Field(ge=1)] = 2_000
    """Distinct queries kept at the same time; one that is not asked for 10 minutes is forgotten."""
    grpc_max_upstream: Annotated[int, Field(ge=2)] = 64
    """Queries that Prometheus works on at the same time."""
    grpc_max_response_bytes: Annotated[int, Field(ge=1_024)] = 65_536
    """Of Prometheus' answer to one query."""
    grpc_max_objects: Annotated[int, Field(ge=0)] = 1_000
    """ScaledObjects that have metrics of their own."""

    grpc_targets_only: bool = False
    """Triggers name a configured target; `query` and `queue` are refused."""
    grpc_query_pattern: str | None = None
    """A regular expression that a trigger's whole query has to match."""
    grpc_access_log: AccessLogMode = "changes"
    """`changes` logs a call whose answer differs from the last one to the same question."""

    @field_validator("grpc_query_pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"a regular expression ({error})") from error
        return pattern

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.grpc_tls_cert_file is None) != (self.grpc_tls_key_file is None):
            raise ValueError("GRPC_TLS_CERT_FILE and GRPC_TLS_KEY_FILE together, or neither")
        if self.grpc_client_ca_file and not self.grpc_tls_cert_file:
            raise ValueError("GRPC_CLIENT_CA_FILE only with GRPC_TLS_CERT_FILE")
        if self.grpc_query_timeout_s >= self.grpc_deadline_s:
            raise ValueError("GRPC_QUERY_TIMEOUT_S below GRPC_DEADLINE_S")
        return self
