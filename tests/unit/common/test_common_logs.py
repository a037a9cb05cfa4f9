"""Log lines as operators and their tools read them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

SETUP = """import logging
from common import logs
logs.configure('prog', {level!r}, terminal={pretty})
"""


def logged(code: str, *, level: str = "info", pretty: bool = False) -> list[str]:
    """What a program that runs `code` leaves on stderr."""
    program = SETUP.format(level=level, pretty=pretty) + code
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def parsed(code: str, **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged(code, **options)]


def test_a_line_is_an_object_with_event_fields_program_level_and_time() -> None:
    code = "logs.get('comp').warning('100 % gone', count=3, error=ValueError('x'), name='ä')"
    (line,) = parsed(code)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "100 % gone",
        "level": "warning",
        "program": "prog",
        "component": "comp",
        "count": 3,
        "error": "ValueError('x')",
        "name": "ä",
    }


@pytest.mark.parametrize(
    ("level", "events"), [("debug", ["d", "i"]), ("info", ["i"]), ("error", [])]
)
def test_what_is_below_the_level_is_left_out(level: str, events: list[str]) -> None:
    code = "log = logs.get('c')\nlog.debug('d')\nlog.info('i')"
    assert [line["event"] for line in parsed(code, level=level)] == events


def test_an_exception_is_a_field_of_its_line() -> None:
    code = "try: 1 / 0\nexcept ZeroDivisionError: logs.get('c').exception('failed', target='t')"
    (line,) = parsed(code)
    assert (line["level"], line["event"], line["target"]) == ("error", "failed", "t")
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ZeroDivisionError: division by zero")


def test_bound_fields_are_on_every_line_until_others_are_bound() -> None:
    code = """log = logs.get('c')
logs.bind(job_id='j')
log.info('one')
logs.bind()
log.info('two')"""
    one, two = parsed(code)
    assert one["job_id"] == "j"
    assert "job_id" not in two


def test_libraries_are_heard_with_their_errors_only() -> None:
    code = "log = logging.getLogger('lib')\nlog.warning('hm')\nlog.error('no %s', 1)"
    (line,) = parsed(code)
    assert (line["component"], line["event"], line["level"]) == ("lib", "no 1", "error")


def test_a_terminal_gets_aligned_text() -> None:
    (line,) = logged("logs.get('c').info('serving', port=80, path='/a b')", pretty=True)
    assert "serving" in line
    assert "component=c path='/a b' port=80 program=prog" in line


def test_logging_loads_nothing_for_terminals() -> None:
    """rich is installed here, and costs a program a fifth of a second and five megabytes."""
    assert logged("import sys; assert 'rich' not in sys.modules; import rich") == []
