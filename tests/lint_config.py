"""Lints what is not Python: rules, routes, proto. Run by `make lint`; exits 1 on any finding."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PROTO = "protos/externalscaler.proto"
GENERATED = tuple(f"protos/externalscaler_pb2{end}" for end in (".py", ".pyi", "_grpc.py"))

ROUTES = (
    ("critical", ["severity=critical"]),
    ("warning", ["severity=warning"]),
    ("info", ["severity=info"]),
    ("deadman", ["alertname=Watchdog", "severity=none"]),
)


def commands() -> Iterator[Sequence[str]]:
    """Every linter with its arguments."""
    rules = sorted(map(str, ROOT.glob("prometheus/rules/*.yml")))
    tests = sorted(map(str, ROOT.glob("prometheus/tests/*.yml")))
    yield ["promtool", "check", "config", "prometheus/prometheus.yml"]
    yield ["promtool", "check", "rules", "--lint=all", *rules]
    yield ["promtool", "test", "rules", *tests]
    yield [str(BIN / "buf"), "lint", str(ROOT)]


def routes_are_sound() -> bool:
    """Whether the rendered Alertmanager configuration is valid and routes every severity."""
    with tempfile.TemporaryDirectory() as folder:
        secrets, config = Path(folder) / "secrets", Path(folder) / "alertmanager.yml"
        secrets.mkdir()
        for name in ("webhook_url", "deadman_url"):
            (secrets / f"alertmanager_{name}").write_text("http://127.0.0.1:9/")
        render = ["sh", "alertmanager/render.sh", str(config)]
        route = ["amtool", "config", "routes", "test", f"--config.file={config}"]
        return all(
            [
                run(render, {"ALERT_SECRETS_DIR": str(secrets)}),
                run(["amtool", "check-config", str(config)]),
                *(run([*route, f"--verify.receivers={to}", *labels]) for to, labels in ROUTES),
            ]
        )


def run(command: Sequence[str], env: Mapping[str, str] | None = None) -> bool:
    """Whether `command` found nothing; says what it found."""
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
    )
    if done.returncode != 0:
        sys.stderr.write(f"{' '.join(command)}\n{done.stdout}{done.stderr}\n")
    return done.returncode == 0


def generated_is_current() -> bool:
    """Whether generating the gRPC modules anew gives what is committed."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
        command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, PROTO]
        if not run(command):
            return False
        stale = [
            name
            for name in GENERATED
            if not filecmp.cmp(ROOT / name, Path(folder) / name, shallow=False)
        ]
    if stale:
        sys.stderr.write(f"not as generated: {', '.join(stale)}; run `make proto`\n")
    return not stale


def main() -> int:
    """Run them all."""
    results = [run(command) for command in commands()]
    results += [routes_are_sound(), generated_is_current()]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
