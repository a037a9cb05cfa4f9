"""What to scale: one model per target, defaults from the plan."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from common.settings import Settings


class Target(Settings):
    """One fleet of interchangeable workers behind one queue."""

    name: str = "video-creator"
    queue: str = "video-queue"
    vhost: str = "/"
    service: str = "video-creator"
    """What the orchestrator calls it: the Swarm service, the process pool, the Deployment."""
    min_workers: Annotated[int, Field(ge=0)] = 1
    max_workers: Annotated[int, Field(ge=1)] = 10
