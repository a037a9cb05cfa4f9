"""An engine that does not answer is waited for once a cycle, not once a target."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from scaler.orchestrators.errors import OrchestratorError
from scaler.orchestrators.swarm.engine import Engine, EngineAwayError, unfenced
from scaler.orchestrators.swarm.listing import Listing
from scaler.orchestrators.swarm.service_view import ServiceView

T = TypeVar("T")


class Breaker:
    """Implements `engine.Engine` over another one, which it asks nothing more after a time-out or
    a lost connection until the next listing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._away: str | None = None

    def close(self) -> None:
        """Give the connection back."""
        self._engine.close()

    def listing(self) -> Listing:
        """All services; asked for whatever was before."""
        self._away = None
        return self._asked(self._engine.listing)

    def view(self, service: str) -> ServiceView:
        """A replicated service by name or id."""
        return self._asked(lambda: self._engine.view(service))

    def set_replicas(
        self, seen: ServiceView, replicas: int, fence: Callable[[], None] = unfenced
    ) -> None:
        """Change the count of what was seen, if it is still that."""
        self._asked(lambda: self._engine.set_replicas(seen, replicas, fence))

    def _asked(self, work: Callable[[], T]) -> T:
        if self._away is not None:
            raise OrchestratorError(self._away)
        try:
            return work()
        except EngineAwayError as error:
            self._away = str(error)
            raise
