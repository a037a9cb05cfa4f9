"""Writes every generated file: `make generate`. A test compares each with what is committed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from common.records import WAIT_BUCKETS
from docs import configuration_page, fault_page, metrics_page, theme_pictures
from exporter.thresholds import THRESHOLDS, AlertSettings
from grafana import build

ROOT = Path(__file__).resolve().parent.parent
_THRESHOLDS = """\
# What the alerts compare with, and the objective: the defaults, to copy and change.
# ALERT_THRESHOLDS_CONFIG_PATH of the exporter names the file; it is read anew at each scrape.
# An entry that is left out has its default. Made from exporter/thresholds.py by `make generate`.
"""
_OPERATOR = ROOT / "deploy/kubernetes/components/prometheus-operator/rules.yaml"


def files() -> dict[Path, str]:
    """Every generated file with its content."""
    return {
        **configuration_page.files(),
        **metrics_page.files(),
        **fault_page.files(),
        **build.files(),
        ROOT / "prometheus/thresholds.yml": _thresholds(),
        _OPERATOR: _operator_rules(),
        **_grpc_modules(),
    }


def stale() -> list[str]:
    """The files that are not as they would be generated."""
    return [
        str(path.relative_to(ROOT))
        for path, content in files().items()
        if not path.exists() or path.read_text() != content
    ]


def _thresholds() -> str:
    default = AlertSettings()
    text = _THRESHOLDS + "thresholds:\n"
    for each in THRESHOLDS:
        text += f"  {f'{each.alert}: {each.default:g}':<28}  # {each.unit}\n"
    allowed = ", ".join(map(str, WAIT_BUCKETS))
    return (
        f"{text}slo:\n"
        f"  {f'start_within_seconds: {default.start_within_s:g}':<28}  # one of {allowed}\n"
        f"  {f'objective: {default.objective:g}':<28}  # share of jobs that are to start in time\n"
    )


def _operator_rules() -> str:
    """prometheus/rules/ as the Prometheus operator takes them."""
    resources = [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": f"autoscaler-{path.stem}"},
            "spec": yaml.safe_load(path.read_text()),
        }
        for path in sorted(ROOT.glob("prometheus/rules/*.yml"))
    ]
    text = yaml.safe_dump_all(resources, sort_keys=False, allow_unicode=True, width=10_000)
    return f"# Made from prometheus/rules/ by `make generate`.\n{text}"


def _grpc_modules() -> dict[Path, str]:
    """The messages, and for tests a client; the server takes its calls from the descriptor."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
        command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs]
        subprocess.run([*command, "protos/externalscaler.proto"], check=True, cwd=ROOT)
        made = sorted(Path(folder).glob("protos/*"))
        homes = {path: "tests/support" if "_grpc" in path.stem else "protos" for path in made}
        return {ROOT / home / path.name: path.read_text() for path, home in homes.items()}


if __name__ == "__main__":
    for file, text in files().items():
        file.write_text(text)
    for file, picture in theme_pictures.pictures():
        picture.save(file, optimize=True)
