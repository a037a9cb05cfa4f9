"""A scaler process whose configuration changes while it runs, and its own command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.stack import Stack
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
ACT = "act-token-of-tests"
GOOD = "scaling: {max_workers: 7}\ntargets: [{name: video-creator}]\n"


class Running:
    """A dry-running scaler on a real Redis and Prometheus."""

    def __init__(self, folder: Path) -> None:
        self.stack = Stack(folder / "stack")
        self.config = folder / "scaling-config.yml"
        self.config.write_text(GOOD)

    def start(self) -> Running:
        self.stack.start("redis", "prometheus")
        env = {
            "ORCHESTRATOR": "dry_run",
            "SCALING_CONFIG": str(self.config),
            "HISTORY_PATH": str(self.stack.folder / "scaler"),
            "HTTP_ACT_TOKEN": ACT,
        }
        self.stack.program("scaler", env)
        return self

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.stack.scaler_url + path, timeout=5) as answer:
            return json.load(answer)

    def names(self) -> list[str]:
        return [each["name"] for each in self.get("/api/targets")]

    def maximum(self) -> int:
        return int(self.get("/api/targets/video-creator")["max_workers"])

    def problem(self) -> str | None:
        problem: str | None = self.get("/api/system")["config_problem"]
        return problem

    def command(self, *arguments: str, token: str = ACT) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "SCALER_URL": self.stack.scaler_url, "SCALER_TOKEN": token}
        return subprocess.run(
            [sys.executable, "-m", "scaler", *arguments],
            check=False,
            capture_output=True,
            text=True,
            env=env,
            timeout=60,
        )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("reload"))
    with running.stack:
        yield running.start()


def test_a_changed_file_takes_effect(running: Running) -> None:
    assert running.maximum() == 7
    running.config.write_text(GOOD.replace("7", "9"))
    until(lambda: running.maximum() == 9, "the new maximum")


def test_a_refused_file_changes_nothing_and_is_told(running: Running) -> None:
    before = running.maximum()
    running.config.write_text("scaling: {max_workers: none}\n")
    until(running.problem, "the problem")
    assert "scaling.max_workers: 'none' is not allowed" in str(running.problem())
    assert running.maximum() == before
    with urllib.request.urlopen(f"{running.stack.scaler_url}/metrics", timeout=5) as answer:
        assert "autoscaler_config_last_reload_successful 0.0" in answer.read().decode()
    log = (running.stack.logs / "scaler.log").read_text()
    assert "configuration refused" in log
    running.config.write_text(GOOD)
    until(lambda: running.problem() is None, "the end of the problem")
    assert running.maximum() == 7


def test_sighup_reloads(running: Running) -> None:
    process = running.stack.parts["scaler"].process
    assert process is not None
    log = running.stack.logs / "scaler.log"
    before = log.read_text().count("configuration reloaded")
    os.kill(process.pid, signal.SIGHUP)
    until(lambda: log.read_text().count("configuration reloaded") > before, "the reload")


def test_targets_come_and_go(running: Running) -> None:
    running.config.write_text(GOOD.replace("]", ", {name: other, queue: other}]"))
    until(lambda: running.names() == ["video-creator", "other"], "another target")
    running.config.write_text(GOOD)
    until(lambda: running.names() == ["video-creator"], "one target")


def test_orders_by_command(running: Running) -> None:
    done = running.command("pause", "--reason", "a deploy", "--for", "10m")
    assert (done.returncode, done.stderr) == (0, "")
    until(lambda: running.get("/api/targets")[0]["verdict"]["level"] == "paused", "the pause")
    assert "Scaling is paused: a deploy" in running.command("explain").stdout
    content = json.loads(running.command("status", "--json").stdout)
    assert content["targets"][0]["order"]["reason"] == "a deploy"
    assert running.command("resume", "video-creator").returncode == 0
    history = running.command("history").stdout
    assert "pause" in history
    assert "resume" in history


def test_explain_at_a_moment(running: Running) -> None:
    at = running.get("/api/targets/video-creator/decisions?limit=500")[-1]["at"]
    done = json.loads(running.command("explain", "--at", f"{at + 0.001:.3f}", "--json").stdout)
    assert done["at"] == pytest.approx(at, abs=0.001)


def test_exit_codes(running: Running) -> None:
    assert running.command("status").returncode == 0
    wrong = running.command("pause", "--reason", "x", token="wrong")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert running.command("status", "--url", "http://127.0.0.1:9").returncode == 1
    assert running.command("pause", "--reason", "x", "--for", "soon").returncode == 2
    assert running.command("explain", "nobody").returncode == 1
    assert running.command("explain", "--at", "whenever").returncode == 2
    assert running.command("status", "--nonsense").returncode == 2
