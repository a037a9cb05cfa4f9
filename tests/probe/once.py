"""Runs in a copy of the tree from which something is missing: which test fails first?

Prints it as the last line, in JSON: the id of a test, or null where all pass.
"""

from __future__ import annotations

import json
import os
import sys

import pytest

# A plugin that is loaded for nothing costs more than most tests.
_ALONE = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"
_OPTIONS = ("-x", "-q", "--tb=no", "-p", "no:cacheprovider")
# Whether a probe can be made says nothing about what it takes out.
_NOT_ASKED = "--ignore=tests/unit/probe"
_PLUGINS = ("-p", "pytest_timeout", "-p", "xdist.plugin")


class _First:
    """Notes the first failure, be it of a test or of reading one."""

    failed: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed and self.failed is None:
            self.failed = report.nodeid


def generate() -> None:
    """Make again what is generated, as whoever changes its source does."""
    from docs.generate import files

    for path, content in files().items():
        path.write_text(content)


def main(tests: list[str]) -> int:
    """Run `tests` until one fails; with `--generate` before them, generate anew first."""
    if tests[0] == "--generate":
        tests = tests[1:]
        try:
            generate()
        except Exception as error:
            sys.stderr.write(f"not generated: {error!r}\n")
    first = _First()
    os.environ[_ALONE] = "1"
    code = pytest.main([*_PLUGINS, *_OPTIONS, _NOT_ASKED, *tests], plugins=[first])
    failed = first.failed or {0: None, 4: "tests/conftest.py"}.get(int(code), f"pytest: {code}")
    sys.stdout.write(f"\n{json.dumps(failed)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
