"""Listings of services for stand-ins of an engine."""

from __future__ import annotations

from functools import partial
from typing import cast

from scaler.orchestrators.swarm.engine import Engine
from scaler.orchestrators.swarm.listing import ListedService, Listing
from scaler.orchestrators.swarm.service_view import ServiceView


def listing_of(*views: ServiceView, now: float = 0.0) -> Listing:
    """As an engine gives it that has these services alone."""
    entries = [
        ListedService(seen.id, seen.name, seen.labels, partial(_itself, seen)) for seen in views
    ]
    return Listing(entries, now=now, absent="is not there")


def standing(listing: Listing) -> Engine:
    """An engine that has just these services and is asked for nothing else."""

    class Standing:
        def listing(self) -> Listing:
            return listing

    return cast(Engine, Standing())


def _itself(seen: ServiceView) -> ServiceView:
    return seen
