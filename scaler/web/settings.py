"""What the web surface is told beyond where to listen."""

from __future__ import annotations

from pydantic import SecretStr, field_validator

from common.errors import SecretInputError
from common.settings import Settings
from common.urls import OpenServiceUrl


class WebSettings(Settings):
    """Who may act, and where a person's browser finds the neighbours."""

    http_act_token: SecretStr | None = None
    """Bearer token that may pause, resume and override. Without one nobody can over HTTP."""
    prometheus_link_url: OpenServiceUrl | None = None
    """Prometheus as a browser reaches it; the default is PROMETHEUS_URL."""
    grafana_link_url: OpenServiceUrl | None = None
    """Grafana as a browser reaches it, for links to the dashboard; None for no links."""

    @field_validator("http_act_token")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise SecretInputError("a token of at least 16 characters")
        return value
