"""The names in docs/contracts.md are the code's: queues, headers, methods, keys."""

from __future__ import annotations

import re

from common import ledger
from docs.generate import ROOT
from worker import messages
from worker.jobs import JOB_QUEUE, RESULT_QUEUE, Result

TEXT = (ROOT / "docs/contracts.md").read_text()
CHANGE = "change docs/contracts.md with the code"


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S)
    assert found, title
    return found[1]


def test_queues_are_those_of_the_code() -> None:
    assert set(re.findall(r"^\| `(.+?)`", section("Queues"), re.M)) == {
        JOB_QUEUE,
        RESULT_QUEUE,
        messages.retry_queue(JOB_QUEUE, 60).replace("60", "<seconds>"),
        messages.dead_queue(JOB_QUEUE),
    }, CHANGE
    result = re.search(r"`\{(.*?)\}`", section("Queues"))
    assert result
    assert re.findall(r"\w+", result[1]) == list(Result.model_fields), CHANGE


def test_headers_are_those_of_the_code() -> None:
    ours = {value for value in vars(messages).values() if str(value).startswith("x-")}
    assert set(re.findall(r"x-[a-z]+", section("Headers of a job's message"))) == ours, CHANGE


def test_what_the_ledger_is_asked_and_keeps_exists() -> None:
    text = section("Ledger (Redis)")
    for name in (asked := re.findall(r"`(\w+_drain)`", text)):
        assert hasattr(ledger.Ledger, name), f"no {name}: {CHANGE}"
    for key in (kept := re.findall(r"`(autoscaler:\w+)`", text)):
        assert key in (ledger.__doc__ or ""), f"no {key}: {CHANGE}"
    assert asked
    assert kept


def test_files_that_are_named_exist() -> None:
    for path in re.findall(r"`((?:\w+/)+[\w.]*)`", TEXT):
        assert (ROOT / path).exists(), f"no {path}: {CHANGE}"
