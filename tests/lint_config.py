"""Lints what is not Python: rules, routes, proto. Run by `make lint`; exits 1 on any finding."""

from __future__ import annotations

import filecmp
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PROTO = "protos/externalscaler.proto"
GENERATED = tuple(f"protos/externalscaler_pb2{end}" for end in (".py", ".pyi", "_grpc.py"))


def commands() -> Iterator[Sequence[str]]:
    """Every linter with its arguments."""
    rules = sorted(map(str, ROOT.glob("prometheus/rules/*.yml")))
    tests = sorted(map(str, ROOT.glob("prometheus/tests/*.yml")))
    yield ["promtool", "check", "config", "prometheus/prometheus.yml"]
    yield ["promtool", "check", "rules", *rules]
    yield ["promtool", "test", "rules", *tests]
    yield [str(BIN / "buf"), "lint", str(ROOT)]


def run(command: Sequence[str]) -> bool:
    """Whether `command` found nothing; says what it found."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
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
    results.append(generated_is_current())
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
