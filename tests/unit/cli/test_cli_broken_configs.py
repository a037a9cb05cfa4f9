"""Broken configurations: each gives one line naming field, value and what is allowed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scaler.__main__ import app

# (what is wrong, the file, words that the one line must hold)
BROKEN = [
    ("no YAML", "scaling: [", ("well-formed YAML",)),
    ("a list", "- 1", ("[1]", "a mapping of sections")),
    ("a word", "hello", ("(text)", "a mapping of sections")),
    (
        "a key twice",
        "scaling:\n  min_workers: 1\n  min_workers: 2",
        ("line 3", "in line 2", "once"),
    ),
    ("an octal number", "grpc_port: 0o10", ("grpc_port", "'0o10'", "integer")),
    ("a date", "metrics_retention_days: 2026-02-30", ("'2026-02-30'", "integer")),
    ("minutes and seconds", "scaling: {cooldown_period: 1:30}", ("'1:30'", "number")),
    ("a tag", "scaling: !!python/object:os.x {}", ("a tag, line 1",)),
    ("two documents", "scaling: {}\n---\nworker: {}", ("a second document, line 2",)),
    ("nested", "scaling: " + "[" * 99, ("nested too deep, line 1", "at most 32")),
    ("a number as a key", "scaling: {1: 2}", ("a key that is no text, line 1",)),
    ("unknown section", "scalling: {}", ("scalling", "no field of this name")),
    ("section is a list", "scaling: [1]", ("scaling", "[1]", "a mapping")),
    ("unknown knob", "scaling: {min_worker: 1}", ("scaling.min_worker", "no field")),
    ("min is negative", "scaling: {min_workers: -1}", ("scaling.min_workers", "-1", "0")),
    ("min is a word", "scaling: {min_workers: few}", ("min_workers", "'few'", "integer")),
    ("min is a fraction", "scaling: {min_workers: 1.5}", ("min_workers", "1.5", "integer")),
    ("max is 0", "scaling: {max_workers: 0}", ("max_workers", "0", "1")),
    ("max is huge", "scaling: {max_workers: 20000}", ("max_workers", "20000", "10000")),
    (
        "max below min",
        "scaling: {min_workers: 5, max_workers: 3}",
        ("max_workers", "3", "at least min_workers, which is 5"),
    ),
    ("priority", "scaling: {priority: cheapest}", ("priority", "'cheapest'", "'cheap'")),
    ("policy", "scaling: {policy: mine}", ("policy", "'mine'", "'ours'")),
    ("wait_weight", "scaling: {wait_weight: -1}", ("wait_weight", "-1", "0")),
    ("headroom", "scaling: {headroom: 11}", ("headroom", "11", "10")),
    ("headroom nan", "scaling: {headroom: .nan}", ("headroom", "nan", "finite")),
    ("cooldown", "scaling: {cooldown_period: -5}", ("cooldown_period", "-5", "0")),
    ("cooldown a word", "scaling: {cooldown_period: 1m}", ("cooldown_period", "'1m'", "number")),
    ("threshold", "scaling: {scale_up_threshold: -2}", ("scale_up_threshold", "-2", "0")),
    ("threshold inf", "scaling: {scale_down_threshold: .inf}", ("scale_down_threshold", "inf")),
    ("startup", "scaling: {startup_seconds: 0}", ("startup_seconds", "0", "greater")),
    ("rate", "scaling: {max_added_per_minute: 0}", ("max_added_per_minute", "0", "1")),
    ("fallback", "scaling: {fallback: panic}", ("fallback", "'panic'", "'hold'")),
    ("fallback number", "scaling: {fallback: number}", ("fallback_replicas", "a number")),
    ("raw without query", "scaling: {policy: raw}", ("query", "PromQL", "raw")),
    ("per worker", "scaling: {per_worker: 0}", ("per_worker", "0", "greater")),
    ("interval", "scaling: {metrics_collection_interval: 0}", ("interval", "0", "0.2")),
    ("health", "scaling: {health_check_interval: 0}", ("health_check_interval", "0", "greater")),
    (
        "cron",
        "scaling: {schedules: [{name: a, start: 0 8 * *, end: 0 9 * * *, min_workers: 2}]}",
        ("schedules.0.start", "0 8 * *", "five fields"),
    ),
    (
        "cron value",
        "scaling: {schedules: [{name: a, start: 99 8 * * *, end: 0 9 * * *, min_workers: 2}]}",
        ("schedules.0.start", "99 8 * * *", "cron"),
    ),
    (
        "time zone",
        "scaling: {schedules: [{name: a, start: 0 8 * * *, end: 0 9 * * *, timezone: Mars,"
        " min_workers: 2}]}",
        ("timezone", "'Mars'", "IANA"),
    ),
    (
        "schedule without effect",
        "scaling: {schedules: [{name: a, start: 0 8 * * *, end: 0 9 * * *}]}",
        ("schedules.0", "min_workers or max_workers"),
    ),
    ("grace", "worker: {graceful_shutdown_timeout: 0}", ("graceful_shutdown_timeout", "0")),
    ("url", "prometheus_url: prometheus:9090", ("prometheus_url", "prometheus:9090", "http://")),
    ("port", "grpc_port: 70000", ("grpc_port", "70000", "65535")),
    ("retention", "metrics_retention_days: 0", ("metrics_retention_days", "0", "1")),
    ("refresh", "dashboard_refresh_interval: never", ("dashboard_refresh_interval", "'never'")),
    ("orchestrator", "orchestrator: mesos", ("orchestrator", "'mesos'", "swarm")),
    ("targets is a word", "targets: all", ("targets", "(text)", "a list")),
    ("no target", "targets: []", ("targets", "[]", "one target or more")),
    ("target is a word", "targets: [one]", ("targets.0", "(text)", "a mapping")),
    ("target's knob", "targets: [{name: a, queues: b}]", ("targets.a.queues", "no field")),
    ("target's name", "targets: [{name: 'a b'}]", ("name", "'a b'", "pattern")),
    ("target's queue", "targets: [{name: a, queue: ''}]", ("targets.a.queue", "''", "1")),
    ("names twice", "targets: [{name: a}, {name: a}]", ("targets.1.name", "'a'", "no other")),
    ("its orchestrator", "targets: [{name: a, orchestrator: x}]", ("targets.a.orch", "'x'")),
]


def check(path: Path, monkeypatch: pytest.MonkeyPatch, **env: str) -> tuple[int, str]:
    for name in list(os.environ):
        if name.isupper() and name.startswith(("MIN_", "MAX_", "SCAL", "HTTP_")):
            monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["check-config", "--config", str(path)])
    return done.exit_code, done.stderr


@pytest.mark.parametrize(("content", "words"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_one_line_says_field_value_and_what_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, words: tuple[str, ...]
) -> None:
    path = tmp_path / "scaling-config.yml"
    path.write_text(content)
    code, said = check(path, monkeypatch)
    assert code == 2
    assert said.count("\n") == 1
    assert len(said) < 400
    assert "allowed: " in said
    for word in words:
        assert word in said


def test_there_are_forty_and_more() -> None:
    assert len(BROKEN) >= 40


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MIN_WORKERS", "-1"),
        ("MAX_WORKERS", "many"),
        ("COOLDOWN_PERIOD", "soon"),
        ("HTTP_ACT_TOKEN", "short"),
        ("GRAFANA_LINK_URL", "grafana"),
    ],
)
def test_a_broken_variable_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    path = tmp_path / "scaling-config.yml"
    path.write_text("")
    code, said = check(path, monkeypatch, **{name: value})
    assert code == 2
    assert name in said
    assert said.count("\n") == 1


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = check(tmp_path / "nowhere.yml", monkeypatch)
    assert code == 2
    assert "nowhere.yml" in said
    assert "a readable file" in said
