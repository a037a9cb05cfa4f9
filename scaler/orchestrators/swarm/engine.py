"""The Docker engine, spoken to directly. The only user of `docker`.

Services are never changed through docker-py's own service calls: those read the spec with
defaults filled in and write them back, which replaces every task of a service that was created
without them. Here the spec goes back exactly as it was read, with the one number changed.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import docker
import requests
import urllib3
from docker.errors import DockerException

from common.errors import cut, printable
from scaler.orchestrators.errors import OrchestratorError
from scaler.orchestrators.swarm.listing import Listing, entries_of, legible, replicated
from scaler.orchestrators.swarm.service_view import ServiceView, view

T = TypeVar("T")

_STALE = "update out of sequence"
LARGEST = 64 * 2**20
"""Bytes of one answer."""
CONNECTS_IN_S = 2.0
"""Within this a change is on its way once the fence has let it pass."""
_MOST_BEHIND = 8

_AWAY = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    DockerException,
    OSError,
    ValueError,  # of an API version that is none
)


class EngineAwayError(OrchestratorError):
    """There was no answer, or not in time: asking for something else would be no better."""


class StaleVersionError(OrchestratorError):
    """The service has been changed since it was read: nothing is changed on that ground."""


class Engine(Protocol):
    """What the Swarm orchestrator needs. Methods raise OrchestratorError."""

    def listing(self) -> Listing:
        """All services."""

    def view(self, service: str) -> ServiceView:
        """A replicated service by name or id."""

    def set_replicas(
        self, seen: ServiceView, replicas: int, fence: Callable[[], None] = ...
    ) -> None:
        """Change the count of what was seen; StaleVersionError when it is no longer that.

        `fence` is called right before; what it raises is passed on, and nothing is changed.
        """

    def close(self) -> None:
        """Give the connection back."""


def unfenced() -> None:
    """Lets everything pass."""


@contextmanager
def in_doubt(
    seen: ServiceView, replicas: int, sent: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Around a change: what was asked for, and not answered, may have been done."""
    try:
        yield
    except EngineAwayError as error:
        if not sent():
            raise
        doubt = f"{seen.name}: whether replicas are {replicas} by now is not known"
        raise EngineAwayError(f"{doubt}: {error}") from error


class _Client(docker.APIClient):
    """docker-py's client, which no proxy of the environment steers: an engine is a neighbour."""

    @property
    def trust_env(self) -> bool:
        return False

    @trust_env.setter
    def trust_env(self, _: bool) -> None:
        """`requests` sets it."""


class DirectEngine:
    """An engine by its API: a manager's socket, or a TCP address with TLS.

    Each method is answered, or has failed, within `timeout_s`, however slowly the engine sends.
    """

    def __init__(
        self,
        host: str = "unix:///var/run/docker.sock",
        *,
        min_grace_s: float,
        timeout_s: float = 5.0,
        tls: Any = None,
    ) -> None:
        self._min_grace_s = min_grace_s
        self.timeout_s = timeout_s
        """For the answer to one question as a whole."""
        self._options: dict[str, Any] = {"base_url": host, "timeout": timeout_s}
        if tls is not None:
            self._options["tls"] = tls
        self._client: Any = None
        self._call = _Call()
        self._behind: list[threading.Thread] = []
        """Of questions that nobody waits for any more."""

    def close(self) -> None:
        """Give the connection back."""
        if self._client is not None:
            self._client.close()

    def listing(self) -> Listing:
        """All services, in two calls; in three where a task is about to be removed."""
        return self._in_time(self._listing)

    def view(self, service: str) -> ServiceView:
        """A replicated service by name or id; OrchestratorError when there is none."""
        return self._in_time(lambda: self._view(service))

    def set_replicas(
        self, seen: ServiceView, replicas: int, fence: Callable[[], None] = unfenced
    ) -> None:
        """Post the spec as the engine has it, with only the count changed, at `seen.version`."""
        sent = threading.Event()

        def change() -> None:
            service, _ = self._get(f"/services/{quote(seen.id, safe='')}")
            version, spec = legible(seen.name, lambda: _version_and_spec(service))
            if version != seen.version:
                raise StaleVersionError(f"{seen.name} has been changed meanwhile")
            changed = legible(seen.name, lambda: with_replicas(spec, replicas))
            fence()
            sent.set()
            if not self._call.late.is_set():
                self._post(f"/services/{quote(seen.id, safe='')}/update", seen.version, changed)

        with in_doubt(seen, replicas, sent.is_set):
            self._in_time(change)

    def _listing(self) -> Listing:
        services, now = self._get("/services")
        # Not by a filter: the engine looks each service of one up again, and refuses them all
        # when one has just been removed.
        tasks, _ = self._get("/tasks")
        down = self._down(tasks)
        entries = entries_of(services, tasks, min_grace_s=self._min_grace_s, now=now, down=down)
        return Listing(entries, now=now, absent="is none of the Swarm's")

    def _view(self, name: str) -> ServiceView:
        service, now = self._get(f"/services/{quote(name, safe='')}")
        identity = legible(name, lambda: str(service["ID"]))
        tasks, _ = self._get("/tasks", filters={"service": [identity]})
        grace, down = self._min_grace_s, self._down(tasks)
        return replicated(name, lambda: view(service, tasks, min_grace_s=grace, now=now, down=down))

    def _down(self, tasks: Any) -> list[str]:
        """Ids of the nodes that are known not to answer, where that matters."""
        found = tasks if isinstance(tasks, list) else []
        if not any(isinstance(t, dict) and t.get("DesiredState") == "remove" for t in found):
            return []
        nodes, _ = self._get("/nodes")
        return [node["ID"] for node in nodes if _is_down(node)] if isinstance(nodes, list) else []

    def _get(
        self, path: str, *, filters: Mapping[str, Sequence[str]] | None = None
    ) -> tuple[Any, float]:
        """What there is at `path`, and the engine's time."""
        params = {"filters": json.dumps(filters)} if filters else {}
        return self._request("GET", path, params=params)

    def _post(self, path: str, version: int, spec: Mapping[str, Any]) -> None:
        headers = {"Content-Type": "application/json"}
        params = {"version": str(version)}
        self._request("POST", path, params=params, data=json.dumps(spec), headers=headers)

    def _request(self, method: str, path: str, **options: Any) -> tuple[Any, float]:
        try:
            if self._client is None:
                self._client = _Client(version="auto", **self._options)
            client = self._client
            answer = client.request(
                method,
                f"{client.base_url}/v{client.api_version}{path}",
                timeout=(CONNECTS_IN_S, self.timeout_s),
                stream=True,
                allow_redirects=False,
                **options,
            )
            with answer:
                # A change that has been made is made, whatever is said of it.
                done = method == "POST" and _is_fine(answer)
                content = None if done else _content(answer, self._call.late)
        except _AWAY as error:
            why = cut(printable(str(error)), 300)
            raise EngineAwayError(f"the Docker engine does not answer: {why}") from error
        if not _is_fine(answer):
            raise _refusal(answer.status_code, content)
        return content, time_of(answer.headers)

    def _in_time(self, work: Callable[[], T]) -> T:
        """What `work` returns, on a thread of its own: no time limit of a socket bounds an answer
        as a whole. One that is late is left to itself."""
        self._behind = [thread for thread in self._behind if thread.is_alive()]
        if len(self._behind) >= _MOST_BEHIND:
            raise EngineAwayError(f"the Docker engine owes answers to {_MOST_BEHIND} questions")
        done: Future[T] = Future()
        late = threading.Event()

        def run() -> None:
            self._call.late = late
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

        thread = threading.Thread(target=run, name="engine", daemon=True)
        thread.start()
        try:
            return done.result(self.timeout_s)
        except TimeoutError:
            late.set()
            self._client = None
            self._behind.append(thread)
            words = f"the Docker engine has not answered within {self.timeout_s:g} s"
            raise EngineAwayError(words) from None


class _Call(threading.local):
    """What the thread of one question knows."""

    late = threading.Event()
    """Set once nobody waits for the answer any more."""


def time_of(headers: Mapping[str, str]) -> float:
    """Epoch seconds by the answerer's clock, by ours if it says none."""
    try:
        return parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (ValueError, OverflowError):
        return time.time()


def with_replicas(spec: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    """A copy of a service's spec that differs in the replica count alone."""
    changed = copy.deepcopy(dict(spec))
    changed["Mode"]["Replicated"]["Replicas"] = replicas
    return changed


def _version_and_spec(service: Any) -> tuple[int, Mapping[str, Any]]:
    return service["Version"]["Index"], service["Spec"]


def _is_down(node: Any) -> bool:
    """Whether a node is not ready; one that can't be read is taken to be, which holds changes."""
    status = node.get("Status") if isinstance(node, dict) else None
    if not isinstance(status, dict) or not isinstance(node.get("ID"), str):
        return False
    return bool(status.get("State") != "ready")


def _is_fine(answer: Any) -> bool:
    return bool(200 <= answer.status_code < 300)


def _content(answer: Any, late: threading.Event) -> Any:
    """The JSON of an answer; its first words where it is none. Raises OrchestratorError for one
    that is too large, or none at all where all is well."""
    body = bytearray()
    # Piece by piece as it arrives, so that the thread of an answer that is late ends.
    while piece := answer.raw.read1(65_536, decode_content=True):
        body += piece
        if len(body) > LARGEST:
            raise OrchestratorError(f"the Docker engine's answer is above {LARGEST >> 20} MB")
        if late.is_set():
            raise EngineAwayError("the Docker engine was too slow")
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError) as error:
        if _is_fine(answer):
            raise OrchestratorError("the Docker engine's answer is no JSON") from error
        return {"message": body[:200].decode(errors="replace")}


def _refusal(status: int, content: Any) -> OrchestratorError:
    said = content.get("message") if isinstance(content, dict) else None
    text = cut(printable(str(said or "")), 400)
    # A stale version is answered by 500 and only known by its words.
    if _STALE in text:
        return StaleVersionError(text)
    return OrchestratorError(f"the Docker engine refused ({status}): {text}")
