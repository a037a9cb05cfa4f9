"""Every program, really started with a URL that is wrong: one line, code 2, and no secret."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "QX#71/Z?K9[V]J@04%W 8"  # with everything that has to be escaped
SOUND = {
    "RABBIT_URL": "amqp://127.0.0.1:9",
    "REDIS_URL": "redis://127.0.0.1:9",
    "GATEWAY_TOKEN": "a-token-for-tests-only",
    "ORCHESTRATOR": "swarm",
    "PATH": "/usr/bin:/bin",
}
SCALER = ["scaler", "run"]
STARTS: dict[str, tuple[list[str], str]] = {
    "exporter RABBIT_URL": (["exporter"], "amqp"),
    "exporter REDIS_URL": (["exporter"], "redis"),
    "exporter MANAGEMENT_URL": (["exporter"], "http"),
    "worker RABBIT_URL": (["worker", "run"], "amqp"),
    "worker REDIS_URL": (["worker", "run"], "rediss"),
    "worker ELEVENLABS_URL": (["worker", "run"], "https"),
    "worker INTERRUPTION_NOTICE": (["worker", "run"], "http"),
    "worker OUTPUT": (["worker", "run"], "s3"),
    "command line RABBIT_URL": (["worker", "dead", "list"], "amqps"),
    "scaler REDIS_URL": (SCALER, "redis"),
    "scaler PROMETHEUS_URL": (SCALER, "http"),
    "scaler PROMETHEUS_PROXY_URL": (SCALER, "http"),
    "scaler GATEWAY_URL": (SCALER, "http"),
    "scaler DOCKER_HOST": (SCALER, "tcp"),
    "scaler GRAFANA_LINK_URL": (SCALER, "http"),
    "check PROMETHEUS_URL": (["scaler", "check-config"], "http"),
    "exporter MANAGEMENT_PROXY_URL": (["exporter"], "http"),
    "status SCALER_PROXY_URL": (["scaler", "status"], "http"),
    "status SCALER_URL": (["scaler", "status"], "http"),
    "gateway DOCKER_HOST": (["scaler.gateway"], "tcp"),
}


def started(words: list[str], env: Mapping[str, str], folder: Path) -> tuple[int, str]:
    """Exit code and all that is written."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        env={**SOUND, "HISTORY_PATH": str(folder), "PYTHONPATH": str(ROOT), **env},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def check(said: str, name: str) -> None:
    assert said.count("\n") == 1
    assert f"{name}: (not shown) is not allowed; allowed: " in said
    shown = [PASSWORD[i : i + 4] for i in range(len(PASSWORD) - 3) if PASSWORD[i : i + 4] in said]
    assert not shown


@pytest.mark.parametrize("start", STARTS)
def test_a_wrong_url_ends_a_program_with_one_line(start: str, tmp_path: Path) -> None:
    words, scheme = STARTS[start]
    name = start.rpartition(" ")[2]
    url = f"{scheme}://user:{PASSWORD}@127.0.0.1:9/"
    code, said = started(words, {name: url}, tmp_path)
    assert code == 2, said
    check(said, name)


def test_so_does_one_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"amqp://user:{PASSWORD}@127.0.0.1:9/\r\n")
    given = {"RABBIT_URL": "", "RABBIT_URL_FILE": str(tmp_path / "url")}
    code, said = started(["worker", "run"], given, tmp_path)
    assert code == 2
    assert "RABBIT_URL_FILE: '(content)' is not allowed; allowed: amqp://" in said
    assert said.count("\n") == 1
    assert not [i for i in range(len(PASSWORD) - 3) if PASSWORD[i : i + 4] in said]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["scaler", "status", "--url"], "--url"),
        (["scaler", "simulate", "--prometheus"], "--prometheus"),
    ],
)
def test_so_does_one_on_the_command_line(words: list[str], name: str, tmp_path: Path) -> None:
    code, said = started([*words, f"http://user:{PASSWORD}@127.0.0.1:9/"], {}, tmp_path)
    assert code == 2, said
    check(said, name)


@pytest.mark.parametrize(
    ("words", "name"), [(["worker", "run"], "JOB_QUEUE"), (["exporter"], "QUEUES")]
)
def test_a_queue_s_name_with_a_windows_line_end_is_refused_at_start(
    words: list[str], name: str, tmp_path: Path
) -> None:
    code, said = started(words, {name: "video-queue\r"}, tmp_path)
    assert code == 2
    assert f"{name}: 'video-queue\\r' is not allowed; allowed: no control characters" in said
    assert said.count("\n") == 1
