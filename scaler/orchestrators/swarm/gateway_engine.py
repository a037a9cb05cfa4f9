"""An engine reached through the gateway, so that this process never holds the Docker socket."""

from __future__ import annotations

from typing import Any

import requests

from scaler.orchestrators.errors import OrchestratorError
from scaler.orchestrators.swarm.engine import StaleVersionError
from scaler.orchestrators.swarm.service_view import ServiceView, from_json


class GatewayEngine:
    """Implements `engine.Engine` over the gateway's HTTP."""

    def __init__(self, url: str, token: str, *, timeout_s: float = 8.0) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._session = requests.Session()
        # The gateway is a neighbour: no proxy and no credentials of the environment.
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {token}"

    def close(self) -> None:
        """Give the connection back."""
        self._session.close()

    def view(self, service: str) -> ServiceView:
        """A replicated service by name or id."""
        return _view(self._request("GET", f"/v1/services/{service}"))

    def opted_in(self) -> list[ServiceView]:
        """Services labelled `autoscaler.enable=true`."""
        return [_view(content) for content in self._request("GET", "/v1/services")]

    def set_replicas(self, seen: ServiceView, replicas: int) -> None:
        """Have the count changed of what was seen at `seen.version`."""
        numbers = {"count": str(replicas), "version": str(seen.version)}
        self._request("POST", f"/v1/services/{seen.id}/replicas", params=numbers)

    def _request(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = self._session.request(
                method, self._url + path, timeout=self._timeout_s, allow_redirects=False, **options
            )
            content = answer.json()
        except (requests.RequestException, ValueError) as error:
            raise OrchestratorError(f"the gateway does not answer: {error}") from error
        if answer.status_code == requests.codes.ok:
            return content
        why = str(content.get("error", "")) if isinstance(content, dict) else ""
        if answer.status_code == requests.codes.conflict:
            raise StaleVersionError(why)
        raise OrchestratorError(f"the gateway refused ({answer.status_code}): {why}")


def _view(content: Any) -> ServiceView:
    try:
        return from_json(content)
    except (TypeError, KeyError) as error:
        raise OrchestratorError(f"the gateway's answer is none of ours: {error!r}") from error
