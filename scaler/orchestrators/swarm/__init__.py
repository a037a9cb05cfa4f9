"""Docker Swarm, spoken to directly or through the gateway.

The only user of `docker`. What reads a service and its tasks (`service_view`), foretells who goes
(`removal_order`) and speaks to the engine (`engine`) is the gateway's, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.orchestrators.swarm.settings import SwarmSettings

if TYPE_CHECKING:
    from scaler.orchestrators.base import Orchestrator

SETTINGS = SwarmSettings
FLEET_BY_SERVICE = True


def create(settings: SwarmSettings) -> Orchestrator:
    """Through the gateway where one is named; raises ConfigError."""
    # Not above: the gateway has no need, and its image no room, for what a target is.
    from scaler.orchestrators.swarm.orchestrator import connected

    return connected(settings)
