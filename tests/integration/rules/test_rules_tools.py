"""Receivers, routes and templates by Alertmanager's own tool; rules are tested by `make lint`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from tests.support.rule_tools import ROOT, check_route, render, run

pytestmark = pytest.mark.integration
SECRETS = {
    "webhook_url": "http://127.0.0.1:9/hook",
    "slack_url": "https://hooks.slack.example/T/B/x",
    "pagerduty_key": "0123456789abcdef",
    "smtp_password": "it's a 'secret'",
    "deadman_url": "https://deadman.example/ping",
}
EMAIL = {
    "ALERT_EMAIL_TO": "people@example.org",
    "ALERT_EMAIL_FROM": "o'brien@example.org",
    "ALERT_SMTP_HOST": "mail.example.org:587",
}


@pytest.mark.parametrize("chosen", [(), *[(name,) for name in SECRETS], tuple(SECRETS)], ids=str)
def test_receivers_are_those_that_are_configured(tmp_path: Path, chosen: tuple[str, ...]) -> None:
    config = render(tmp_path, {name: SECRETS[name] for name in chosen}, EMAIL)
    run(["amtool", "check-config", str(config)])
    content = yaml.safe_load(config.read_text())
    receivers = {each.pop("name"): set(each) for each in content["receivers"]}
    kinds = {
        "webhook_url": "webhook_configs",
        "slack_url": "slack_configs",
        "pagerduty_key": "pagerduty_configs",
        "smtp_password": "email_configs",
    }
    on = {kind for name, kind in kinds.items() if name in chosen}
    assert receivers["critical"] == on
    assert receivers["warning"] == on - {"pagerduty_configs"}
    assert receivers["info"] == on & {"webhook_configs", "slack_configs"}
    assert receivers["deadman"] == ({"webhook_configs"} if "deadman_url" in chosen else set())


def test_no_secret_is_written_that_can_stay_in_its_file(tmp_path: Path) -> None:
    config = render(tmp_path, SECRETS, EMAIL)
    text = config.read_text()
    for name in ("slack_url", "pagerduty_key", "smtp_password"):
        assert SECRETS[name] not in text
        assert f"alertmanager_{name}" in text
    assert config.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"severity": "critical", "service": "broker"}, "critical"),
        ({"severity": "critical", "service": "monitoring"}, "critical"),
        ({"severity": "warning", "service": "queue"}, "warning"),
        ({"severity": "warning", "service": "monitoring"}, "warning"),
        ({"severity": "info", "service": "workers"}, "info"),
        ({"severity": "none", "service": "monitoring", "alertname": "Watchdog"}, "deadman"),
        ({"severity": "unheard-of"}, "warning"),
    ],
)
def test_each_severity_goes_to_its_receiver(
    tmp_path: Path, labels: Mapping[str, str], receiver: str
) -> None:
    config = render(tmp_path, {"webhook_url": SECRETS["webhook_url"]})
    check_route(config, receiver, labels)


@pytest.mark.parametrize(
    ("secret", "env", "words"),
    [
        ({"webhook_url": "ftp://x"}, {}, ("alertmanager_webhook_url", "http://")),
        ({"webhook_url": "http://x\nhttp://y"}, {}, ("alertmanager_webhook_url", "one line")),
        ({"smtp_password": "x"}, {}, ("ALERT_EMAIL_TO", "a value")),
        ({}, {"ALERT_TIME_ZONE": "UTC\nx: y"}, ("ALERT_TIME_ZONE", "one line")),
    ],
)
def test_what_cannot_be_used_is_named_and_nothing_is_started(
    tmp_path: Path, secret: Mapping[str, str], env: Mapping[str, str], words: Sequence[str]
) -> None:
    for name, content in secret.items():
        (tmp_path / f"alertmanager_{name}").write_text(content)
    command = ["sh", "alertmanager/render.sh", str(tmp_path / "out.yml"), "echo", "started"]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "ALERT_SECRETS_DIR": str(tmp_path), **env},
    )
    assert done.returncode == 2
    assert "started" not in done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert all(word in done.stderr for word in words)


def test_the_templates_say_what_somebody_needs(tmp_path: Path) -> None:
    config = render(
        tmp_path, {"slack_url": SECRETS["slack_url"]}, {"ALERT_RUNBOOKS": "https://docs.example/"}
    )
    data = {
        "status": "firing",
        "commonLabels": {"alertname": "QueueDepthHigh", "queue": "video-queue"},
        "commonAnnotations": {"summary": "Jobs pile up in the queue"},
        "alerts": [
            {
                "status": "firing",
                "labels": {},
                "annotations": {
                    "description": "51 jobs wait",
                    "runbook_url": "docs/runbooks/QueueDepthHigh.md",
                },
            }
        ],
    }
    path = tmp_path / "data.json"
    path.write_text(json.dumps(data))

    def shown(name: str) -> str:
        globs = [f"{ROOT}/alertmanager/templates/*.tmpl", f"{config}.*.tmpl"]
        files = [f"--template.glob={glob}" for glob in globs]
        text = f'--template.text={{{{ template "autoscaler.{name}" . }}}}'
        return run(["amtool", "template", "render", *files, f"--template.data={path}", text])

    title = "[FIRING 1] QueueDepthHigh on video-queue: Jobs pile up in the queue"
    assert shown("title").strip() == title
    link = "What to do: https://docs.example/docs/runbooks/QueueDepthHigh.md"
    assert shown("text").splitlines()[:2] == ["51 jobs wait", link]
    assert shown("color").strip() == "warning"
