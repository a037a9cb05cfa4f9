"""check-config says what is in force and from where; schema, file and page are the code's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from scaler.__main__ import app
from scaler.config.load import load_config
from scaler.config.schema import schema
from scaler.orchestrators import settings_of

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "scaling-config.yml"


def origins(*arguments: str) -> dict[str, tuple[str, str]]:
    done = CliRunner().invoke(app, ["check-config", "--json", *arguments])
    assert done.exit_code == 0, done.output
    return {each["name"]: (each["value"], each["origin"]) for each in json.loads(done.stdout)}


def test_each_value_has_its_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scaling-config.yml"
    path.write_text(
        "orchestrator: dry_run\n"
        "scaling: {min_workers: 2, max_workers: 20}\n"
        "targets: [{name: a, queue: q, max_workers: 9}, {name: b}]\n"
    )
    secret = tmp_path / "token"
    secret.write_text("a-secret-that-is-not-shown\n")
    monkeypatch.setenv("MIN_WORKERS", "3")
    monkeypatch.setenv("HTTP_ACT_TOKEN_FILE", str(secret))
    monkeypatch.setenv("PROMETHEUS_URL", "http://user:password@prometheus:9090")
    found = origins("--config", str(path))
    assert found["scaling.min_workers"] == ("3", "MIN_WORKERS")
    assert found["scaling.max_workers"] == ("20", "file")
    assert found["scaling.priority"] == ("balanced", "default")
    assert found["targets.a.min_workers"] == ("3", "MIN_WORKERS")
    assert found["targets.a.max_workers"] == ("9", "file")
    assert found["targets.b.max_workers"] == ("20", "file: scaling")
    assert found["targets.b.orchestrator"] == ("dry_run", "file")
    assert found["http_act_token"] == ("(set)", "HTTP_ACT_TOKEN_FILE")
    assert found["prometheus_url"] == ("http://prometheus:9090", "PROMETHEUS_URL")


@pytest.mark.parametrize(
    ("name", "value", "setting"),
    [
        ("MIN_WORKERS", "2", "scaling.min_workers"),
        ("MAX_WORKERS", "20", "scaling.max_workers"),
        ("PRIORITY", "fast", "scaling.priority"),
        ("POLICY", "plan", "scaling.policy"),
        ("SCALE_UP_THRESHOLD", "3", "scaling.scale_up_threshold"),
        ("SCALE_DOWN_THRESHOLD", "0.25", "scaling.scale_down_threshold"),
        ("COOLDOWN_PERIOD", "90", "scaling.cooldown_period"),
        ("HEALTH_CHECK_INTERVAL", "45", "scaling.health_check_interval"),
        ("GRACEFUL_SHUTDOWN_TIMEOUT", "600", "worker.graceful_shutdown_timeout"),
        ("METRICS_RETENTION_DAYS", "14", "metrics_retention_days"),
        ("DASHBOARD_REFRESH_INTERVAL", "2", "dashboard_refresh_interval"),
        ("ALERT_THRESHOLDS_CONFIG_PATH", "/x/alerts.yml", "alert_thresholds_config_path"),
    ],
)
def test_every_variable_is_honoured(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, setting: str
) -> None:
    monkeypatch.setenv(name, value)
    shown, origin = origins("--changed")[setting]
    assert origin == name
    assert shown.removesuffix(".0") == value


# As the scaler starts, but without a cycle; then what it has been told, and what its parts hold.
RUNNING = """
import json, sys
from pathlib import Path
import common.settings
made = []
load = common.settings.load
def noted(*args, **kwargs):
    made.append((kwargs.get("prefix", "").lower(), load(*args, **kwargs)))
    return made[-1][1]
common.settings.load = noted
from scaler.loop.controller import Controller
from scaler.config.origin import _shown
from scaler.orchestrators.swarm.engine import DirectEngine
from scaler import run
held = {}
Controller.run = lambda self, interval, *_: held.update(interval=interval)
begin = DirectEngine.__init__
def begun(self, *args, min_grace_s, **kwargs):
    held["grace"] = min_grace_s
    begin(self, *args, min_grace_s=min_grace_s, **kwargs)
DirectEngine.__init__ = begun
run.run(Path(sys.argv[1]))
told = [[type(each).__name__, prefix + name, _shown(getattr(each, name))]
        for prefix, each in made if prefix != "_" for name in type(each).model_fields]
print(json.dumps({"told": told, "held": held}))
"""
FULL = """
orchestrator: swarm
grpc_port: 0
dashboard_refresh_interval: 3
scaling: {max_workers: 20, metrics_collection_interval: 2}
worker: {graceful_shutdown_timeout: 900}
targets: [{name: a, queue: a}, {name: b, queue: b, orchestrator: process}]
"""
PREFIXES = {
    "ScalingSection": "scaling.",
    "WorkerSection": "worker.",
    "SwarmSettings": "swarm.",
    "ProcessSettings": "process.",
}


def test_what_is_shown_is_what_runs(tmp_path: Path) -> None:
    path = tmp_path / "scaling-config.yml"
    path.write_text(FULL)
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HISTORY_PATH": str(tmp_path / "history"),
        "REDIS_URL": "redis://127.0.0.1:9",
        "PROMETHEUS_URL": "http://127.0.0.1:9",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": "0",
        "GRPC_HOST": "127.0.0.1",
        "GRPC_DEADLINE_S": "3",
        "HTTP_ACT_TOKEN": "0123456789-abcdef",
        "DOCKER_HOST": "tcp://127.0.0.1:9",
    }

    def output(*arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    runs = output("-c", RUNNING, str(path))
    listed = output("-m", "scaler", "check-config", "--json", "--config", str(path))
    shown = {each["name"]: each["value"] for each in listed}
    assert len(shown) == len(listed), "each setting is shown once"
    told = {f"{PREFIXES.get(of, '')}{name}": value for of, name, value in runs["told"]}
    assert told == {name: shown[name] for name in told}
    assert {name for name in shown if not name.startswith("targets.")} == told.keys()
    assert {of for of, _, _ in runs["told"]} > PREFIXES.keys() | {"RunSettings"}
    assert runs["held"] == {"interval": 2, "grace": 900}
    assert shown["swarm.graceful_shutdown_timeout"] == "900.0"
    assert shown["process.graceful_shutdown_timeout"] == "900.0"


def test_the_grace_of_the_file_reaches_the_backends_and_the_variable_wins() -> None:
    for environ, grace in (({}, 900), ({"GRACEFUL_SHUTDOWN_TIMEOUT": "60"}, 60)):
        for name in ("swarm", "process"):
            made: Any = settings_of(name, {"graceful_shutdown_timeout": 900, "other": 1}, environ)
            assert made.graceful_shutdown_timeout == grace


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"GATEWAY_URL": "http://gateway"}, "GATEWAY_TOKEN"),
        ({"DOCKER_HOST": "nonsense"}, "DOCKER_HOST"),
        ({"GRPC_DEADLINE_S": "1"}, "GRPC_QUERY_TIMEOUT_S"),
        ({"GRPC_TLS_CERT_FILE": "/x"}, "GRPC_TLS_KEY_FILE"),
        ({"POD_DELETION_COST_INTERVAL_S": "0"}, "POD_DELETION_COST_INTERVAL_S"),
        ({"REDIS_URL": "http://ledger"}, "REDIS_URL"),
        ({"REDIS_URL": "redis://ledger?no_such=1"}, "REDIS_URL"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL"),
        ({"REDIS_CA_FILE": "/x", "REDIS_URL": "rediss://ledger"}, "REDIS_CA_FILE"),
        ({"PROMETHEUS_CA_FILE": "/x"}, "PROMETHEUS_CA_FILE"),
        ({"PROMETHEUS_BEARER_TOKEN": "a b"}, "PROMETHEUS_BEARER_TOKEN"),
        ({"HTTP_PORT": "99999"}, "HTTP_PORT"),
    ],
)
def test_whatever_run_would_refuse_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: dict[str, str], words: str
) -> None:
    path = tmp_path / "scaling-config.yml"
    path.write_text("orchestrator: swarm\n")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["check-config", "--config", str(path)])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert done.stdout == ""


def test_each_part_that_is_refused_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "scaling-config.yml"
    path.write_text("scaling: {max_workers: 0}\n")
    monkeypatch.setenv("HTTP_ACT_TOKEN", "short")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    done = CliRunner().invoke(app, ["check-config", "--config", str(path)])
    assert done.exit_code == 2
    said = [line.split(": ")[1] for line in done.stderr.splitlines()]
    assert said == ["scaling.max_workers", "HTTP_ACT_TOKEN", "LOG_LEVEL"]


def test_what_run_needs_and_is_not_there_is_told_and_refuses_nothing() -> None:
    assert origins()["redis_url"] == ("(missing)", "run needs REDIS_URL")


def test_the_shipped_file_is_the_defaults() -> None:
    assert load_config(SHIPPED, {}).targets == load_config(None, {}).targets
    assert load_config(SHIPPED, {}).program == load_config(None, {}).program


def test_the_shipped_files_fit_the_schema() -> None:
    made = schema()
    jsonschema.Draft202012Validator.check_schema(made)
    for path in (SHIPPED, *ROOT.glob("deploy/*/**/scaling-config.yml")):
        jsonschema.validate(yaml.safe_load(path.read_text()), made)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"scaling": {"max_worker": 3}}, made)


def test_the_shipped_file_names_every_setting() -> None:
    text = SHIPPED.read_text()
    made = schema()["properties"]
    names = {*made["scaling"]["properties"], *made["worker"]["properties"]}
    names |= {"name", "queue", "vhost", "service", "prometheus_url", "grpc_port", "orchestrator"}
    missing = {name for name in names if f"{name}:" not in text}
    assert not missing, f"give it a line with its default and a comment, in {SHIPPED.name}"
