"""An engine reached through the gateway, so that this process never holds the Docker socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import requests

from scaler.orchestrators.errors import OrchestratorError
from scaler.orchestrators.swarm.engine import (
    EngineAwayError,
    StaleVersionError,
    in_doubt,
    time_of,
    unfenced,
)
from scaler.orchestrators.swarm.listing import ListedService, Listing, legible
from scaler.orchestrators.swarm.service_view import LOOK_HEADER, ServiceView, from_json, texts


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

    def listing(self) -> Listing:
        """The services that have opted in, in one call."""
        found, headers = self._request("GET", "/v1/services")
        if not isinstance(found, list):
            raise OrchestratorError("the gateway's answer is none of ours")
        return Listing(
            filter(None, map(_entry, found)),
            now=time_of(headers),
            absent="is not there, or has not opted in (label autoscaler.enable=true)",
        )

    def view(self, service: str) -> ServiceView:
        """A replicated service by name or id."""
        content, headers = self._request("GET", f"/v1/services/{service}")
        look = headers.get(LOOK_HEADER, "")
        return replace(_view(service, content), look=int(look) if look.isdecimal() else None)

    def set_replicas(
        self, seen: ServiceView, replicas: int, fence: Callable[[], None] = unfenced
    ) -> None:
        """Have the count changed of what was seen at `seen.version`."""
        numbers = {"count": str(replicas), "version": str(seen.version)}
        if seen.look is not None:
            numbers["look"] = str(seen.look)
        fence()
        with in_doubt(seen, replicas):
            self._request("POST", f"/v1/services/{seen.id}/replicas", params=numbers)

    def _request(self, method: str, path: str, **options: Any) -> tuple[Any, Mapping[str, str]]:
        """What is answered, and its headers."""
        try:
            answer = self._session.request(
                method, self._url + path, timeout=self._timeout_s, allow_redirects=False, **options
            )
            content = answer.json()
        except (requests.RequestException, ValueError, RecursionError) as error:
            raise EngineAwayError(f"the gateway does not answer: {error}") from error
        if answer.status_code == HTTPStatus.OK:
            return content, answer.headers
        why = str(content.get("error", "")) if isinstance(content, dict) else ""
        if answer.status_code == HTTPStatus.CONFLICT:
            raise StaleVersionError(why)
        if answer.status_code == HTTPStatus.GATEWAY_TIMEOUT:
            raise EngineAwayError(why)
        raise OrchestratorError(f"the gateway refused ({answer.status_code}): {why}")


def _entry(content: Any) -> ListedService | None:
    """One service of the gateway's list; None where it can't even be told which."""
    if not isinstance(content, dict) or not isinstance(content.get("id"), str):
        return None

    def read() -> ServiceView:
        if "unreadable" in content:
            raise OrchestratorError(str(content["unreadable"]))
        return _view(name, content)

    name = str(content.get("name") or content["id"])
    try:
        labels = texts(content.get("labels"))
    except TypeError:
        labels = {}
    return ListedService(content["id"], name, labels, read)


def _view(name: str, content: Any) -> ServiceView:
    return legible(name, lambda: from_json(content))
