"""Alertmanager's configuration as it is rendered, and the tools that judge it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class FindingError(Exception):
    """What a tool found, in its words."""


def run(command: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """What `command` prints; FindingError when it is not content."""
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
    )
    if done.returncode != 0:
        raise FindingError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def render(folder: Path, secrets: Mapping[str, str], env: Mapping[str, str] | None = None) -> Path:
    """alertmanager.yml with these secrets present."""
    kept = folder / "secrets"
    kept.mkdir(exist_ok=True)
    for name, content in secrets.items():
        (kept / f"alertmanager_{name}").write_text(content)
    config = folder / "alertmanager.yml"
    command = ["sh", "alertmanager/render.sh", str(config)]
    run(command, {"ALERT_SECRETS_DIR": str(kept), **(env or {})})
    return config


def check_route(config: Path, receiver: str, labels: Mapping[str, str]) -> None:
    """Raises FindingError when an alert with these labels goes elsewhere."""
    pairs = [f"{name}={value}" for name, value in labels.items()]
    to = f"--verify.receivers={receiver}"
    run(["amtool", "config", "routes", "test", f"--config.file={config}", to, *pairs])
