"""All services as they were at one look, each read on its own. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from common.errors import cut, printable
from scaler.orchestrators.errors import OrchestratorError
from scaler.orchestrators.swarm.service_view import Json, ServiceView, opts_in, view

T = TypeVar("T")
_UNREADABLE = (TypeError, LookupError, ValueError, AttributeError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class ListedService:
    """One service of a listing."""

    id: str
    name: str
    labels: Mapping[str, str]
    read: Callable[[], ServiceView]
    """It and its tasks; raises OrchestratorError where it is not replicated or can't be read."""

    @property
    def opted_in(self) -> bool:
        """Whether its labels ask for being scaled."""
        return opts_in(self.labels)


class Listing:
    """Services by id and name. What is wrong with one concerns no other."""

    def __init__(self, entries: Iterable[ListedService], *, now: float, absent: str) -> None:
        """`now` is the engine's clock at the look; `absent` says what it means that a service is
        not among `entries`."""
        self.now = now
        """Epoch seconds."""
        self._absent = absent
        self._by_id = {entry.id: entry for entry in entries}
        self._by_name = {entry.name: entry for entry in self._by_id.values()}

    def __contains__(self, identity: str) -> bool:
        return identity in self._by_id

    def find(self, service: str) -> ListedService:
        """A service by its id, its name or the beginning of its id, as the engine itself finds
        it. Raises OrchestratorError naming it."""
        found = self._by_id.get(service) or self._by_name.get(service)
        if found is None:
            alike = [entry for known, entry in self._by_id.items() if known.startswith(service)]
            if len(alike) != 1:
                raise OrchestratorError(f"service {service!r} {self._absent}")
            (found,) = alike
        return found

    @property
    def opted_in(self) -> list[ListedService]:
        """Those whose labels ask for being scaled, by name."""
        return [entry for _, entry in sorted(self._by_name.items()) if entry.opted_in]


def entries_of(
    services: Any, tasks: Any, *, min_grace_s: float, now: float, down: Iterable[str] = ()
) -> list[ListedService]:
    """What the engine's two lists say, as `service_view.view` reads it. Raises OrchestratorError
    where one is no list."""
    if not isinstance(services, list) or not isinstance(tasks, list):
        raise OrchestratorError("the Docker engine answers with something else than a list")
    by_service: dict[str, list[Json]] = {}
    astray = 0
    for task in tasks:
        # Some are of no service: those of containers at an attachable network.
        owner = task.get("ServiceID") or "" if isinstance(task, dict) else None
        if isinstance(owner, str):
            by_service.setdefault(owner, []).append(task)
        else:
            astray += 1

    def entry(service: Json) -> ListedService:
        def read() -> ServiceView:
            if astray:  # whose, nobody knows: perhaps of this one
                raise OrchestratorError(f"{astray} tasks in the engine's list can't be read")
            own = by_service.get(service["ID"], ())
            return replicated(
                name, lambda: view(service, own, min_grace_s=min_grace_s, now=now, down=down)
            )

        name, labels = _named(service)
        return ListedService(service["ID"], name, labels, read)

    return [entry(service) for service in services if _has_id(service)]


def replicated(name: str, read: Callable[[], ServiceView | None]) -> ServiceView:
    """What `read` makes of an answer about a service. Raises OrchestratorError where that is of
    another mode, or where the answer can't be read."""
    seen = legible(name, read)
    if seen is None:
        raise OrchestratorError(f"service {name!r} is not of the replicated mode")
    return seen


def legible(name: str, read: Callable[[], T]) -> T:
    """What `read` makes of an answer about `name`; OrchestratorError where it can't."""
    try:
        return read()
    except (*_UNREADABLE, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
        text = f"what the engine says of {name!r} can't be read ({cut(printable(why), 200)})"
        raise OrchestratorError(text) from error


def _named(service: Json) -> tuple[str, Mapping[str, str]]:
    """Name and labels, as far as they can be read."""
    spec = service.get("Spec")
    spec = spec if isinstance(spec, dict) else {}
    labels = spec.get("Labels")
    labels = labels if isinstance(labels, dict) else {}
    texts = {name: text for name, text in labels.items() if isinstance(text, str)}
    return str(spec.get("Name") or service["ID"]), texts


def _has_id(service: Any) -> bool:
    return isinstance(service, dict) and isinstance(service.get("ID"), str) and service["ID"] != ""
