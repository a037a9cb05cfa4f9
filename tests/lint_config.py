"""Lints what is not Python: rules, routes, proto, generated files; exits 1 on any finding."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from docs.generate import stale
from tests.support.rule_tools import ROOT, FindingError, check_route, render, run

BIN = Path(sys.executable).parent

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
    """Generating anew gives what is committed."""
    if found := stale():
        raise FindingError(f"not as generated: {', '.join(found)}; run `make generate`")


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
