"""Services that opt in by label become targets, and stop being some."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pytest

from scaler.loop.discovery import Discovery
from scaler.orchestrators.base import Offer
from scaler.orchestrators.dry_run import DryRun
from scaler.orchestrators.errors import OrchestratorError
from scaler.orchestrators.swarm.orchestrator import Swarm
from scaler.orchestrators.swarm.service_view import ServiceView
from scaler.policy.target import Pool, Target
from tests.support.swarm_services import listing_of, standing


class Backend(DryRun):
    """Offers what it is told to."""

    offers: Sequence[Offer] = ()
    broken = False

    def discover(self) -> Sequence[Offer]:
        if self.broken:
            raise OrchestratorError("away")
        return self.offers


def offer(service: str, **fields: str) -> Offer:
    return Offer(service, fields)


def discovery(backend: Backend, *configured: Target) -> Discovery:
    return Discovery({"dry_run": backend}, defaults={"max_workers": 7}, configured=configured)


def offered(*offers: Offer) -> Backend:
    backend = Backend()
    backend.offers = offers
    return backend


def names(look: Discovery) -> list[str]:
    return [target.name for target in look()]


def labelled(stack: str = "reels", **labels: str) -> ServiceView:
    return ServiceView(
        id=f"id of {stack}",
        name=f"{stack}_editor",
        version=1,
        replicas=1,
        labels={
            "com.docker.stack.namespace": stack,
            **{f"autoscaler.{name}": value for name, value in labels.items()},
        },
        tasks=(),
        hold=None,
    )


def offers_of(*services: ServiceView) -> Sequence[Offer]:
    swarm = Swarm(standing(listing_of(*services)))
    swarm.refresh([])
    return swarm.discover()


def test_labels_are_fields_of_a_target_over_the_defaults() -> None:
    (one,) = offers_of(labelled(enable="true", queue="edit", min="2", priority="fast"))
    (found,) = discovery(offered(one))()
    assert (found.name, found.service, found.queue) == ("reels_editor", "reels_editor", "edit")
    assert (found.min_workers, found.max_workers, found.priority) == (2, 7, "fast")
    assert found.orchestrator == "dry_run"


def test_the_same_app_in_two_stacks_is_two_targets() -> None:
    both = offers_of(labelled("reels", enable="true"), labelled("news", enable="true"))
    look = discovery(offered(*both))
    assert sorted(names(look)) == ["news_editor", "reels_editor"]
    assert look.formerly == {}, "whose was what was remembered of editor, nobody knows"
    (said,) = look.problems
    assert said.startswith("the targets news_editor and reels_editor take from the same queue")
    own = labelled("news", enable="true", queue="news"), labelled("reels", enable="true")
    assert not discovery(offered(*offers_of(*own))).problems


def test_a_target_that_had_its_stacks_name_cut_off_can_be_told_what_it_was_called() -> None:
    one = offers_of(labelled(enable="true"))
    look = discovery(offered(*one))
    assert names(look) == ["reels_editor"]
    assert look.formerly == {"reels_editor": "editor"}
    assert discovery(offered(*one), Target(name="editor", service="s")).formerly == {}
    named = offers_of(labelled(enable="true", name="editor"))
    assert discovery(offered(*named)).formerly == {}


def test_services_come_and_go() -> None:
    backend = Backend()
    look = discovery(backend)
    assert names(look) == []
    backend.offers = [offer("a")]
    assert names(look) == ["a"]
    backend.broken = True
    assert names(look) == ["a"], "not seen for a moment is not gone"
    assert list(look.problems) == ["dry_run does not tell which services opt in: away"]
    backend.broken, backend.offers = False, []
    assert names(look) == []
    assert not look.problems


def test_what_the_file_names_is_left_to_the_file() -> None:
    file = Target(name="b", service="a", orchestrator="dry_run")
    assert names(discovery(offered(offer("a"), offer("c")), file)) == ["c"]
    by_id = Target(name="b", service="0id", orchestrator="dry_run")
    a = Offer("a", {}, known_as=frozenset({"0id"}))
    assert names(discovery(offered(a), by_id)) == []
    elsewhere = Target(name="b", service="a", orchestrator="process")
    assert names(discovery(offered(offer("a")), elsewhere)) == ["a"], "it is another fleet"


def test_a_pool_of_a_configured_target_is_no_target_of_its_own() -> None:
    pools = (Pool(service="reels_editor", price=1, max_workers=10),)
    file = Target(name="videos", pools=pools, orchestrator="dry_run")
    assert names(discovery(offered(offer("reels_editor", queue="edit")), file)) == []


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_name_that_two_services_claim_is_neithers(order: Sequence[int]) -> None:
    three = [offer("s1", name="same"), offer("s2", name="same"), offer("s3")]
    look = discovery(offered(*(three[n] for n in order)))
    assert names(look) == ["s3"]
    (said,) = look.problems
    for word in ("same", "s1", "s2", "nobody's"):
        assert word in said


def test_a_name_of_the_file_is_the_files() -> None:
    file = Target(name="b", service="a", orchestrator="dry_run")
    look = discovery(offered(offer("c", name="b")), file)
    assert names(look) == []
    (said,) = look.problems
    for word in ("target b", "the configuration, for a", "c in dry_run", "the configuration's"):
        assert word in said


def test_labels_that_cannot_be_used_make_no_target() -> None:
    wrong = [
        labelled("one", enable="true", max="many"),
        labelled("two", enable="true", colour="red"),
        labelled("three", enable="true", service="another"),
        labelled("four", enable="true", pools="[]"),
        labelled("five", enable="true", name="x" * 5000),
    ]
    look = discovery(offered(*offers_of(*wrong), offer("good")))
    assert names(look) == ["good"]
    assert len(look.problems) == 5
    for said, words in zip(
        look.problems,
        ("five_editor.name", "four_editor.pools", "one_editor.max_workers: 'many'",
         "three_editor.service: 'another'", "two_editor.colour"),
        strict=True,
    ):  # fmt: skip
        assert said.startswith(words)
        assert len(said) < 500


@pytest.mark.parametrize("turned", [False, True])
def test_a_queues_name_is_taken_in_one_virtual_host_only(turned: bool) -> None:
    offers = [
        offer("edit1", queue="edit", vhost="/"),
        offer("edit2", queue="edit", vhost="team-b"),
        offer("file", queue="render", vhost="team-b"),
        offer("beside", queue="render", vhost="/"),
        offer("free", queue="free", vhost="team-b"),
    ]
    configured = Target(name="t", queue="render", service="s")
    look = discovery(offered(*(reversed(offers) if turned else offers)), configured)
    assert sorted(names(look)) == ["beside", "free"]
    edit, render, shared = look.problems
    assert "edit1" in edit
    assert "edit2" in edit
    assert "neither is looked at" in edit
    assert "file" in render
    assert "only that in '/'" in render
    assert "beside and t" in shared


def test_what_is_no_target_any_more_is_no_problem_any_more() -> None:
    backend = offered(offer("s1", name="same"), offer("s2", name="same"))
    look = discovery(backend)
    assert names(look) == []
    backend.offers = [offer("s2", name="same")]
    assert names(look) == ["same"]
    assert look.problems == ()
