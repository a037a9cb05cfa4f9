"""Lints what is not Python: rules, routes, proto. Run by `make lint`; exits 1 on any finding."""

from __future__ import annotations

import filecmp
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.support.rule_tools import ROOT, FindingError, check_route, render, run

BIN = Path(sys.executable).parent
PROTO = "protos/externalscaler.proto"
GENERATED = tuple(f"protos/externalscaler_pb2{end}" for end in (".py", ".pyi", "_grpc.py"))

ROUTES = (
    ("critical", {"severity": "critical"}),
    ("warning", {"severity": "warning"}),
    ("info", {"severity": "info"}),
    ("deadman", {"alertname": "Watchdog", "severity": "none"}),
)


def commands() -> Iterator[Sequence[str]]:
    """Every linter with its arguments."""
    rules = sorted(map(str, ROOT.glob("prometheus/rules/*.yml")))
    tests = sorted(map(str, ROOT.glob("prometheus/tests/*.yml")))
    yield ["promtool", "check", "config", "prometheus/prometheus.yml"]
    yield ["promtool", "check", "rules", "--lint=all", *rules]
    yield ["promtool", "test", "rules", *tests]
    yield [str(BIN / "buf"), "lint", str(ROOT)]


def check_routes() -> None:
    """The rendered Alertmanager configuration is valid and routes every severity."""
    with tempfile.TemporaryDirectory() as folder:
        hook = "http://127.0.0.1:9/"
        config = render(Path(folder), {"webhook_url": hook, "deadman_url": hook})
        run(["amtool", "check-config", str(config)])
        for receiver, labels in ROUTES:
            check_route(config, receiver, labels)


def check_generated() -> None:
    """Generating the gRPC modules anew gives what is committed."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
        run([sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, PROTO])
        stale = [
            name
            for name in GENERATED
            if not filecmp.cmp(ROOT / name, Path(folder) / name, shallow=False)
        ]
    if stale:
        raise FindingError(f"not as generated: {', '.join(stale)}; run `make proto`")


def main() -> int:
    """Run them all, also after a finding."""
    checks: list[Callable[[], object]] = [partial(run, command) for command in commands()]
    found = False
    for check in (*checks, check_routes, check_generated):
        try:
            check()
        except FindingError as error:
            sys.stderr.write(f"{error}\n")
            found = True
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
