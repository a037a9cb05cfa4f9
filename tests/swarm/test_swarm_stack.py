"""The shipped stack file on a real Swarm: bursts of jobs, and a fleet that follows."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.loop import dialogue
from tests.support.waiting import until
from tests.swarm.engine import Engine
from tests.swarm.images import OFFICIAL, PROGRAMS, program_image, size_over_base
from tests.swarm.stack import NAME, ShippedStack, stack_images

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(1800)]

SECOND = Path(__file__).with_name("second.yml")
MEGABYTE = 1_000_000


def test_every_image_of_the_stack_file_is_covered() -> None:
    assert set(stack_images()) == {*OFFICIAL, *map(program_image, PROGRAMS)}


def test_images_are_small_and_run_as_nobody_special(
    shipped: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {name: size_over_base(shipped, program_image(name)) for name in PROGRAMS}
    with capsys.disabled():
        told = {name: round(size / MEGABYTE, 1) for name, size in sizes.items()}
        sys.stdout.write(f"\nmegabytes over the base: {told}\n")
    assert sizes["scaler"] <= 90 * MEGABYTE
    assert sizes["exporter"] <= 90 * MEGABYTE
    for name in PROGRAMS:
        config = shipped.api.inspect_image(program_image(name))["Config"]
        assert config["User"] == "10001:10001"
        assert config["Entrypoint"][0] == "tini"
        assert config["Healthcheck"]


@pytest.fixture(scope="module")
def stack(shipped: Engine) -> Iterator[ShippedStack]:
    queues = "video-queue,edit-queue"
    with ShippedStack(
        shipped, MAX_WORKERS="5", RENDER_THREADS="1", QUEUES=queues, SCALER_REPLICAS="2"
    ) as deployed:
        deployed.declare_queues()
        yield deployed


def ffprobe(path: Any) -> Any:
    command = ["ffprobe", "-v", "error", "-show_streams", "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return json.loads(done.stdout)["streams"]


def other_than_count(spec: dict[str, Any]) -> dict[str, Any]:
    """What the scaler may not change of a service. Its count may move once more after it was back,
    as the arrivals of the burst leave the ten minutes by which they are judged."""
    (mode,) = spec["Mode"]
    return {**spec, "Mode": mode}


def test_a_burst_raises_the_fleet_and_it_falls_back_by_draining(stack: ShippedStack) -> None:
    until(stack.workers, "the first worker")
    spec_before = stack.spec("video-creator")
    jobs = [dialogue(f"burst-{number}") for number in range(10)]
    stack.publish(jobs)
    peak = 0
    deadline = time.monotonic() + 600
    while len(stack.videos()) < len(jobs) or stack.ready()["video-queue"]:
        assert time.monotonic() < deadline, stack.report()
        peak = max(peak, len(stack.tasks(f"{NAME}_video-creator")))
        time.sleep(1)

    def back_at_one() -> bool:
        replicas = stack.spec("video-creator")["Mode"]["Replicated"]["Replicas"]
        return bool(replicas == 1 and len(stack.workers()) == 1)

    until(back_at_one, "back at one worker", timeout_s=900, explain=stack.report)
    assert peak == 5
    messages = Counter(message["job_id"] for message in stack.results())
    assert messages == {job["job_id"]: 1 for job in jobs}
    videos = stack.videos()
    assert set(videos) == {job["job_id"] for job in jobs}
    for path in videos.values():
        codecs = {stream["codec_name"] for stream in ffprobe(path)}
        assert codecs == {"h264", "aac"}
    # All but one have left, each by itself; none was stopped, and no job came twice.
    assert len(stack.exits["video-creator"]) >= peak - 1
    assert set(stack.exits["video-creator"]) == {0}
    assert not stack.query("autoscaler_jobs_redelivered_total > 0")
    assert other_than_count(stack.spec("video-creator")) == other_than_count(spec_before)
    until(back_at_one, "back at one worker again", timeout_s=900, explain=stack.report)
    scraped = 'up{job="scaler"} == 1'
    until(lambda: len(stack.query(scraped)) == 2, "both scalers scraped")
    sources = 'autoscaler_source_up{source=~"management|thresholds"} == 1'
    until(lambda: len(stack.query(sources)) == 2, "all of the exporter's sources")


def kill_the_acting_scaler(stack: ShippedStack) -> None:
    killed = stack.acting_scaler()
    stack.engine.api.kill(killed)
    # The lease of the dead runs out after eight seconds; a look at it takes some on a busy machine.
    until(lambda: stack.acting_scaler(killed), "another scaler acting", timeout_s=60)


def test_bursts_for_two_targets_one_by_label_with_the_acting_scaler_killed(
    stack: ShippedStack,
) -> None:
    """60 jobs; the leader dies in their midst; nobody at work is stopped and no job comes twice."""
    services = ("video-creator", "video-editor")
    stack.deploy(SECOND, VIDEO_CREATOR_REPLICAS="1")
    until(lambda: len(stack.workers()) >= 2, "both kinds")
    specs = {service: stack.spec(service) for service in services}
    stack.exits.clear()
    jobs = [
        {**dialogue(f"two-{number}"), "queue": ("video-queue", "edit-queue")[number % 2]}
        for number in range(60)
    ]
    for begin in range(0, 60, 20):
        stack.publish(jobs[begin : begin + 20])
        if begin == 20:
            kill_the_acting_scaler(stack)
        time.sleep(10)
    wanted = {job["job_id"] for job in jobs}
    until(lambda: wanted <= set(stack.videos()), "60 videos", timeout_s=900)

    def at_rest() -> bool:
        counts = [stack.spec(s)["Mode"]["Replicated"]["Replicas"] for s in services]
        return counts == [1, 1] and len(stack.workers()) == 2

    until(at_rest, "back at one each", timeout_s=900, explain=stack.report)
    messages = Counter(message["job_id"] for message in stack.results())
    assert messages == dict.fromkeys(wanted, 1)
    assert not stack.query("autoscaler_jobs_redelivered_total > 0")
    # Each change of a count was made by one scaler, once: those of both add up to no more than the
    # engine has seen, also around the death of one.
    applied = Counter(stack.applied())
    assert len({name for name, _, _ in applied}) == 2
    until(
        lambda: applied <= Counter(stack.scalings),
        "every change told of by the engine",
        explain=lambda: applied - Counter(stack.scalings),
    )
    for service in services:
        assert len(stack.exits[service]) >= 1, service
        assert set(stack.exits[service]) == {0}, service
        assert other_than_count(stack.spec(service)) == other_than_count(specs[service])
    until(at_rest, "back at one each again", timeout_s=900, explain=stack.report)
