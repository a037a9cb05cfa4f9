"""Services that opt in by label become targets, and stop being some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scaler.loop.discovery import Discovery
from scaler.orchestrators.dry_run import DryRun
from scaler.orchestrators.errors import OrchestratorError
from scaler.orchestrators.swarm.service_view import ServiceView, offer_of
from scaler.policy.target import Pool, Target


class Backend(DryRun):
    """Offers what it is told to."""

    offers: Sequence[Mapping[str, Any]] = ()
    broken = False

    def discover(self) -> Sequence[Mapping[str, Any]]:
        if self.broken:
            raise OrchestratorError("away")
        return self.offers


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 10
        return self.now


def discovery(backend: Backend, *configured: Target) -> Discovery:
    return Discovery(
        {"dry_run": backend}, defaults={"max_workers": 7}, configured=configured, clock=Clock()
    )


def labelled(**labels: str) -> ServiceView:
    return ServiceView(
        id="x",
        name="reels_editor",
        version=1,
        replicas=1,
        labels={
            "com.docker.stack.namespace": "reels",
            **{f"autoscaler.{name}": value for name, value in labels.items()},
        },
        tasks=(),
        hold=None,
    )


def test_labels_are_fields_of_a_target_over_the_defaults() -> None:
    backend = Backend()
    backend.offers = [offer_of(labelled(enable="true", queue="edit", min="2", priority="fast"))]
    (found,) = discovery(backend)()
    assert (found.name, found.service, found.queue) == ("editor", "reels_editor", "edit")
    assert (found.min_workers, found.max_workers, found.priority) == (2, 7, "fast")
    assert found.orchestrator == "dry_run"


def test_services_come_and_go() -> None:
    backend = Backend()
    look = discovery(backend)
    assert look() == []
    backend.offers = [{"name": "a", "service": "a"}]
    assert [target.name for target in look()] == ["a"]
    backend.broken = True
    assert [target.name for target in look()] == ["a"], "not seen for a moment is not gone"
    backend.broken, backend.offers = False, []
    assert look() == []


def test_what_the_file_names_is_left_to_the_file() -> None:
    backend = Backend()
    backend.offers = [{"name": "a", "service": "a"}, {"name": "b", "service": "c"}]
    assert discovery(backend, Target(name="b", service="a"))() == []


def test_labels_that_cannot_be_used_make_no_target() -> None:
    backend = Backend()
    backend.offers = [
        offer_of(labelled(enable="true", max="many")),
        offer_of(labelled(enable="true", colour="red")),
        {"name": "good", "service": "good"},
    ]
    assert [target.name for target in discovery(backend)()] == ["good"]


def test_a_pool_of_a_configured_target_is_no_target_of_its_own() -> None:
    backend = Backend()
    backend.offers = [offer_of(labelled(enable="true", queue="edit"))]
    pools = (Pool(service="reels_editor", price=1, max_workers=10),)
    assert discovery(backend, Target(name="videos", pools=pools))() == []


def test_a_queues_name_is_taken_in_one_virtual_host_only() -> None:
    backend = Backend()
    backend.offers = [
        {"name": "same", "service": "s1", "queue": "edit", "vhost": "/"},
        {"name": "other", "service": "s2", "queue": "edit", "vhost": "team-b"},
        {"name": "file", "service": "s3", "queue": "render", "vhost": "team-b"},
        {"name": "free", "service": "s4", "queue": "free", "vhost": "team-b"},
    ]
    configured = Target(name="t", queue="render", service="s")
    assert [target.name for target in discovery(backend, configured)()] == ["same", "free"]
