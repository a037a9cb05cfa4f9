"""A changed configuration: all of it or nothing, and the loop goes on whatever it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import ConfigError
from scaler.config.load import ScalerConfig, load_config
from scaler.config.reload import Reloader
from scaler.loop.metrics import ScalerMetrics

FAILURES: dict[str, Callable[[], Exception]] = {
    "refused": lambda: ConfigError("x", 1, "2"),
    "value": lambda: ValueError("hunter2"),
    "recursion": lambda: RecursionError("hunter2"),
    "memory": MemoryError,
    "system": lambda: OSError(28, "No space left on device", "hunter2"),
    "type": lambda: TypeError("hunter2"),
}


class Scaler:
    """Whose parts take targets one after the other, and may fail in between."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write(5)
        self.maximum = self.interval = 0.0
        self.fails_at: dict[str, Exception] = {}
        self.metrics = ScalerMetrics("test")
        config = load_config(path, {})
        self.reloader = Reloader(path, config, load=self.load, take=self.take, metrics=self.metrics)
        self.take(config)

    def write(self, maximum: int, more: str = "") -> None:
        before = self.path.stat().st_mtime_ns if self.path.exists() else 0
        self.path.write_text(f"scaling: {{max_workers: {maximum}}}\n{more}")
        os.utime(self.path, ns=(before + 1, before + 1))

    def load(self) -> ScalerConfig:
        self.fail("load")
        return load_config(self.path, {})

    def take(self, config: ScalerConfig) -> None:
        self.fail("take")
        self.maximum = config.targets[0].max_workers
        self.fail("half")
        self.interval = config.targets[0].max_workers

    def fail(self, where: str) -> None:
        error = self.fails_at.pop(where, None)
        if error is not None:
            raise error

    @property
    def successful(self) -> float | None:
        return self.metrics.registry.get_sample_value("autoscaler_config_last_reload_successful")


@pytest.fixture
def scaler(tmp_path: Path) -> Scaler:
    return Scaler(tmp_path / "scaling-config.yml")


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("where", ["load", "take", "half"])
def test_whatever_fails_is_refused_and_what_was_in_force_stays(
    scaler: Scaler, where: str, failure: str
) -> None:
    if (where, failure) == ("half", "refused"):
        return  # `take` promises to refuse before it changes anything
    scaler.write(9)
    scaler.fails_at[where] = FAILURES[failure]()
    scaler.reloader.check()
    assert (scaler.maximum, scaler.interval) == (5, 5)
    assert scaler.successful == 0
    assert scaler.reloader.problem
    assert "hunter2" not in scaler.reloader.problem
    scaler.reloader.check()
    assert scaler.maximum == 5, "what was refused is not tried again until it changes"
    scaler.write(7)
    scaler.reloader.check()
    assert (scaler.maximum, scaler.interval, scaler.successful) == (7, 7, 1)
    assert scaler.reloader.problem is None


def test_also_where_the_one_before_can_t_be_taken_back(scaler: Scaler) -> None:
    scaler.write(9)
    scaler.fails_at |= {"half": ValueError(), "take": ValueError()}
    scaler.reloader.check()
    scaler.fails_at |= {"take": ValueError()}
    scaler.reloader.check()
    assert scaler.successful == 0


@pytest.mark.parametrize(
    "more",
    [
        "history_path: 2026-02-30\ngrpc_port: 0x_",
        "history_path: [2026-02-30]",
        "x: " + "[" * 5_000,
        "grpc_port: " + "9" * 10_000,
        "worker: {graceful_shutdown_timeout: 0x_}",
        "targets: [{name: {a: b}}]",
        "targets: [{schedules: [{name: a, start: 0 8 * * *, end: 0 9 * * *, timezone: America}]}]",
        "targets: [{<<: {? a : b}}]",
        "\x00",
        "a: &a [*a]",
        "metrics_retention_days: 1e999",
    ],
)
def test_no_content_of_the_file_ends_the_loop(scaler: Scaler, more: str) -> None:
    scaler.write(9, more)
    scaler.reloader.check()
    assert scaler.maximum == 5
    assert "internal error" not in str(scaler.reloader.problem)
    assert scaler.successful == 0


def test_what_waits_for_the_next_start_is_said(
    scaler: Scaler, caplog: pytest.LogCaptureFixture
) -> None:
    scaler.write(5, "grpc_port: 7000\nworker: {graceful_shutdown_timeout: 900}\n")
    scaler.reloader.check()
    fields = [getattr(each, "fields", {}) for each in caplog.records]
    waiting = ["grpc_port", "worker.graceful_shutdown_timeout"]
    assert {"settings": waiting} in fields
