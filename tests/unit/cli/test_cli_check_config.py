"""check-config says what is in force and from where; schema, file and page are the code's."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from scaler.__main__ import app
from scaler.config.load import load_config
from scaler.config.schema import schema

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
