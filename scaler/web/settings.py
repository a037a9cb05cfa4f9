"""What the web surface is told beyond where to listen."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator

from common.settings import Settings


class WebSettings(Settings):
    """Who may act, and where a person's browser finds the neighbours."""

    http_act_token: SecretStr | None = None
    """Bearer token that may pause, resume and override. Without one nobody can over HTTP."""
    prometheus_link_url: str | None = None
    """Prometheus as a browser reaches it; the default is PROMETHEUS_URL."""
    grafana_link_url: str | None = None
    """Grafana as a browser reaches it, for links to the dashboard; None for no links."""

    @field_validator("http_act_token")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("a token of at least 16 characters")
        return value

    @field_validator("prometheus_link_url", "grafana_link_url")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("http:// or https://host[:port]")
        return value.rstrip("/")
