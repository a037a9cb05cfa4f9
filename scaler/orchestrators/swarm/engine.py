"""The Docker engine, spoken to directly. The only user of `docker`.

Services are never changed through docker-py's own service calls: those read the spec with
defaults filled in and write them back, which replaces every task of a service that was created
without them. Here the spec goes back exactly as it was read, with the one number changed.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

import docker
import requests
from docker.errors import DockerException

from scaler.orchestrators.errors import OrchestratorError
from scaler.orchestrators.swarm.service_view import ENABLE, ServiceView, view

_STALE = "update out of sequence"


class StaleVersionError(OrchestratorError):
    """The service has been changed since it was read: nothing is changed on that ground."""


class Engine(Protocol):
    """What the Swarm orchestrator needs. Methods raise OrchestratorError."""

    def view(self, service: str) -> ServiceView:
        """A replicated service by name or id."""

    def opted_in(self) -> Sequence[ServiceView]:
        """Services whose labels ask for being scaled."""

    def set_replicas(self, seen: ServiceView, replicas: int) -> None:
        """Change the count of what was seen; StaleVersionError when it is no longer that."""

    def close(self) -> None:
        """Give the connection back."""


class DirectEngine:
    """An engine by its API: a manager's socket, or a TCP address with TLS."""

    def __init__(
        self,
        host: str = "unix:///var/run/docker.sock",
        *,
        min_grace_s: float,
        timeout_s: float = 5.0,
        tls: Any = None,
    ) -> None:
        self._min_grace_s = min_grace_s
        self._options: dict[str, Any] = {"base_url": host, "timeout": timeout_s}
        if tls is not None:
            self._options["tls"] = tls
        self._client: Any = None

    def close(self) -> None:
        """Give the connection back."""
        if self._client is not None:
            self._client.close()

    def view(self, service: str) -> ServiceView:
        """A replicated service by name or id; OrchestratorError when there is none."""
        seen = self._view(self._get(f"/services/{quote(service, safe='')}"))
        if seen is None:
            raise OrchestratorError(f"service {service!r} is not of the replicated mode")
        return seen

    def opted_in(self) -> list[ServiceView]:
        """Services labelled `autoscaler.enable=true`."""
        found = self._get("/services", filters={"label": [f"{ENABLE}=true"]})
        views = (self._view(service) for service in found)
        return [seen for seen in views if seen is not None]

    def set_replicas(self, seen: ServiceView, replicas: int) -> None:
        """Post the spec as the engine has it, with only the count changed, at `seen.version`."""
        service = self._get(f"/services/{quote(seen.id, safe='')}")
        if service["Version"]["Index"] != seen.version:
            raise StaleVersionError(f"{seen.name} has been changed meanwhile")
        self._request(
            "POST",
            f"/services/{quote(seen.id, safe='')}/update",
            params={"version": str(seen.version)},
            data=json.dumps(with_replicas(service["Spec"], replicas)),
            headers={"Content-Type": "application/json"},
        )

    def _view(self, service: Mapping[str, Any]) -> ServiceView | None:
        tasks = self._get("/tasks", filters={"service": [service["ID"]]})
        down: list[str] = []
        if any(task.get("DesiredState") == "remove" for task in tasks):
            nodes = self._get("/nodes")
            down = [node["ID"] for node in nodes if node["Status"]["State"] != "ready"]
        return view(service, tasks, min_grace_s=self._min_grace_s, now=time.time(), down=down)

    def _get(self, path: str, *, filters: Mapping[str, Sequence[str]] | None = None) -> Any:
        params = {"filters": json.dumps(filters)} if filters else {}
        return self._request("GET", path, params=params).json()

    def _request(self, method: str, path: str, **options: Any) -> Any:
        try:
            if self._client is None:
                self._client = docker.APIClient(version="auto", **self._options)
            client = self._client
            url = f"{client.base_url}/v{client.api_version}{path}"
            timeout = self._options["timeout"]
            answer = client.request(method, url, timeout=timeout, **options)
        except (requests.RequestException, DockerException, OSError) as error:
            raise OrchestratorError(f"the Docker engine does not answer: {error}") from error
        if answer.ok:
            return answer
        raise _refusal(answer)


def with_replicas(spec: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    """A copy of a service's spec that differs in the replica count alone."""
    changed = copy.deepcopy(dict(spec))
    changed["Mode"]["Replicated"]["Replicas"] = replicas
    return changed


def _refusal(answer: Any) -> OrchestratorError:
    try:
        text = str(answer.json().get("message", ""))
    except ValueError:
        text = answer.text[:200]
    # A stale version is answered by 500 and only known by its words.
    if _STALE in text:
        return StaleVersionError(text)
    return OrchestratorError(f"the Docker engine refused ({answer.status_code}): {text}")
