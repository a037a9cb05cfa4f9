"""Which queues are reported."""

from __future__ import annotations

import pytest

from exporter.selection import QueueName, Selection, as_regex, is_pattern


def names(*given: str, vhost: str = "/") -> list[QueueName]:
    return [QueueName(vhost, name) for name in given]


def test_named_queues_need_no_listing_and_bring_their_parked_jobs() -> None:
    selection = Selection(("video-queue",), (), ("/",))
    assert not selection.needs_listing
    assert selection.resolve(()) == names("video-queue", "video-queue.dead")


def test_a_pattern_brings_what_is_listed_and_of_parked_jobs_only_what_exists() -> None:
    selection = Selection(("video-*",), (), ("/",))
    listing = names("video-a", "video-b", "video-a.dead", "audio", "audio.dead")
    assert selection.needs_listing
    assert selection.resolve(()) == []
    assert selection.resolve(listing) == names("video-a", "video-a.dead", "video-b")


@pytest.mark.parametrize("name", ["q" * 251, "\u00e4" * 126])
def test_a_name_too_long_for_parked_jobs_is_read_without_them(name: str) -> None:
    selection = Selection((name, "short"), (), ("/",))
    assert selection.resolve(()) == sorted(names("short", "short.dead", name))
    pattern = Selection(("*",), (), ("/",))
    assert pattern.resolve(names(name)) == names(name)


def test_exclusion_wins_over_inclusion() -> None:
    selection = Selection(("*",), ("*.retry.*", "amq.*"), ("/",))
    listing = names("jobs", "jobs.retry.30", "amq.gen-1")
    assert selection.resolve(listing) == names("jobs")


def test_virtual_hosts_are_chosen_by_pattern_too() -> None:
    selection = Selection(("jobs",), (), ("team-*",))
    listing = [QueueName(vhost, "jobs") for vhost in ("team-a", "team-b", "other")]
    assert selection.resolve(listing) == [QueueName("team-a", "jobs"), QueueName("team-b", "jobs")]


@pytest.mark.parametrize("text", ["a.b", "a+b", "a[1]", "a|b", "a(b", "a^b$", "ü"])
def test_signs_of_regular_expressions_stand_for_themselves(text: str) -> None:
    assert not is_pattern(text)
    assert Selection((text,), (), ("/",)).matches(QueueName("/", text))
    assert not Selection((text,), (), ("/",)).matches(QueueName("/", f"{text}x"))


def test_one_regex_for_the_broker() -> None:
    assert as_regex(("a.b", "c*", "d?")) == r"^(?:a\.b|c.*|d.)$"
