"""Sources that are down, hung or slow: the scrape answers in time with the rest."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.stack import Stack
from tests.integration.exporter.conftest import Probe, channel, exporter_for

pytestmark = pytest.mark.integration
READY = "rabbitmq_queue_messages_ready"
FLEET = "autoscaler_workers"
UP = "autoscaler_source_up"
DEADLINE_S = 2.0


@contextmanager
def frozen(stack: Stack, part: str) -> Iterator[None]:
    """The part and all its children stopped in mid-flight: it takes connections, and is mute."""
    process = stack.parts[part].process
    assert process is not None
    group = os.getpgid(process.pid)
    os.killpg(group, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(group, signal.SIGCONT)


@contextmanager
def dripping() -> Iterator[str]:
    """A server that begins to answer and then sends a byte now and then, for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def drip(connection: socket.socket) -> None:
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not stop.wait(0.1):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        def serve() -> None:
            while not stop.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=drip, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            stop.set()


def test_a_hung_ledger_costs_only_its_own_families(stack: Stack) -> None:
    with exporter_for(stack) as probe:
        assert probe.scrape().value(UP, source="ledger") == 1
        with frozen(stack, "redis"):
            for _ in range(3):
                seen = probe.scrape(DEADLINE_S)
                assert seen.took_s < DEADLINE_S
                assert seen.value(UP, source="ledger") == 0
                assert seen.value(READY, queue="video-queue") == 0
                assert FLEET not in seen.names
                assert "autoscaler_jobs_started_total" not in seen.names
        probe.until(lambda s: s.value(UP, source="ledger") == 1, "the ledger is back")


def test_a_hung_broker_costs_only_its_own_families(stack: Stack) -> None:
    with exporter_for(stack) as probe:
        assert probe.scrape().value(UP, source="amqp") == 1
        with frozen(stack, "rabbitmq"):
            for _ in range(3):
                seen = probe.scrape(DEADLINE_S)
                assert seen.took_s < DEADLINE_S
                assert seen.value(UP, source="amqp") == 0
                assert READY not in seen.names
                assert seen.value(FLEET, queue="video-queue", state="idle") == 0
        probe.until(lambda s: s.value(READY, queue="video-queue") == 0, "the broker is back")


def test_a_hung_management_api_costs_only_its_own_families(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with exporter_for(stack, MANAGEMENT_URL=url) as probe:
            check_without_management(probe)


def test_patterns_without_a_listing_cost_only_the_queues(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with exporter_for(stack, MANAGEMENT_URL=url, QUEUES="video-queue,job-*") as probe:
            for _ in range(2):
                seen = probe.scrape(DEADLINE_S)
                assert seen.took_s < DEADLINE_S
                assert seen.value(UP, source="listing") == 0
                # What is named in full needs no listing.
                assert seen.value(READY, queue="video-queue") == 0
                assert seen.value(FLEET, queue="video-queue", state="idle") == 0


def test_a_dripping_management_api_costs_only_its_own_families(stack: Stack) -> None:
    with dripping() as url, exporter_for(stack, MANAGEMENT_URL=url) as probe:
        check_without_management(probe)


def test_a_dripping_management_api_holds_up_no_ending(stack: Stack) -> None:
    with dripping() as url:
        part = stack.program("exporter", {"MANAGEMENT_URL": url})
        try:
            urllib.request.urlopen(f"{stack.exporter_url}/metrics", timeout=30).close()
            part.stop(20)
            assert part.exit_code() == 0
        finally:
            part.stop()


def test_a_management_api_that_is_down_costs_only_its_own_families(stack: Stack) -> None:
    with exporter_for(stack, MANAGEMENT_URL="http://127.0.0.1:9") as probe:
        check_without_management(probe)


def check_without_management(probe: Probe) -> None:
    for _ in range(3):
        seen = probe.scrape(DEADLINE_S)
        assert seen.took_s < DEADLINE_S
        assert seen.value(UP, source="management") == 0
        assert seen.value(READY, queue="video-queue") == 0
        assert seen.value(FLEET, queue="video-queue", state="idle") == 0
        assert "rabbitmq_queue_messages_unacked" not in seen.names


def test_a_ledger_that_is_down_from_the_start(stack: Stack) -> None:
    with exporter_for(stack, REDIS_URL="redis://127.0.0.1:9/0") as probe:
        seen = probe.scrape(DEADLINE_S)
    assert seen.value(UP, source="ledger") == 0
    assert seen.value(READY, queue="video-queue") == 0


def test_a_broker_that_goes_and_comes_back(stack: Stack) -> None:
    with exporter_for(stack) as probe:
        assert probe.scrape().value(READY, queue="video-queue") == 0
        stack.parts["rabbitmq"].stop(30)
        seen = probe.scrape(DEADLINE_S)
        assert seen.took_s < DEADLINE_S
        assert READY not in seen.names
        stack.parts["rabbitmq"].start().wait_ready()
        probe.until(lambda s: s.value(READY, queue="video-queue") == 0, "reconnected")


def test_thresholds_that_become_invalid_are_dropped_and_told_of(
    stack: Stack, tmp_path: Path
) -> None:
    path = tmp_path / "alerts.yml"
    path.write_text("thresholds: {QueueDepthHigh: 20}")
    with exporter_for(stack, ALERT_THRESHOLDS_CONFIG_PATH=str(path)) as probe:
        name = "autoscaler_alert_threshold"
        assert probe.scrape().value(name, alert="QueueDepthHigh") == 20
        path.write_text("thresholds: {QueueDepthHigh: 30}")
        assert probe.scrape().value(name, alert="QueueDepthHigh") == 30
        path.write_text("thresholds: {QueueDepthHigh: many}")
        seen = probe.scrape()
        assert name not in seen.names
        assert seen.value(UP, source="thresholds") == 0
        assert seen.value(READY, queue="video-queue") == 0


def test_many_at_once_are_all_answered(stack: Stack) -> None:
    with exporter_for(stack) as probe, channel(stack):
        seen = []
        threads = [threading.Thread(target=lambda: seen.append(probe.scrape())) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [s.value(READY, queue="video-queue") for s in seen] == [0] * 10


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("RABBIT_URL", "http://x", ("RABBIT_URL", "amqp://")),
        ("QUEUES", "video-*", ("MANAGEMENT_URL", "patterns")),
        ("ALERT_THRESHOLDS_CONFIG_PATH", "/nowhere.yml", ("/nowhere.yml", "readable")),
        ("HTTP_PORT", "many", ("HTTP_PORT", "'many'", "integer")),
    ],
)
def test_an_invalid_setting_ends_the_program(
    variable: str, value: str, words: tuple[str, ...]
) -> None:
    env = {
        **os.environ,
        "RABBIT_URL": "amqp://guest:guest@127.0.0.1:9/",
        "REDIS_URL": "redis://127.0.0.1:9/0",
        variable: value,
    }
    done = subprocess.run(
        [sys.executable, "-m", "exporter"],
        check=False,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert all(word in done.stderr for word in words)


def test_the_program_serves_and_ends_on_sigterm(stack: Stack) -> None:
    part = stack.program("exporter")
    try:
        began = time.monotonic()
        part.stop(20)
        assert part.exit_code() == 0
        assert time.monotonic() - began < 20
    finally:
        part.stop()
