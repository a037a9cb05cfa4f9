"""Queues that refuse, and a broker that takes nothing: what a policy or an alarm does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import requests

from demo.stack import Stack
from tests.support.waiting import until

_AUTH = ("guest", "guest")
_CONTROL = "/usr/lib/rabbitmq/bin/rabbitmqctl"
_HIGH = "0.4"


@contextmanager
def refusing(stack: Stack, queue: str) -> Iterator[None]:
    """The queue takes nothing meanwhile, and keeps what it has."""
    # First the refusal, then the limit: in one stroke a classic queue would drop what it has. The
    # broker has applied a policy by the time it answers.
    _put_policy(stack, queue, {"overflow": "reject-publish"})
    _put_policy(stack, queue, {"overflow": "reject-publish", "max-length": 0})
    try:
        yield
    finally:
        _put_policy(stack, queue, {"overflow": "reject-publish"})


@contextmanager
def memory_alarm(stack: Stack) -> Iterator[None]:
    """The broker takes nothing from anybody meanwhile, and says so."""
    _control(stack, "set_vm_memory_high_watermark", "absolute", "1MB")
    until(lambda: _alarmed(stack), "the alarm")
    try:
        yield
    finally:
        _control(stack, "set_vm_memory_high_watermark", _HIGH)
        until(lambda: not _alarmed(stack), "the end of the alarm")


def returning_soon(stack: Stack, after_s: int) -> None:
    """Have quorum queues try again after that long to return what a queue refused, not after the
    three minutes that a broker waits unless it is told otherwise. For queues made from now on."""
    name = "dead_letter_worker_publisher_confirm_timeout"
    _control(stack, "eval", f"application:set_env(rabbit, {name}, {after_s * 1000}).")


def queue_names(stack: Stack) -> list[str]:
    """All that there are, in the default virtual host."""
    url = f"{stack.management_url}/api/queues/%2F?columns=name"
    return [str(queue["name"]) for queue in requests.get(url, auth=_AUTH, timeout=30).json()]


def _put_policy(stack: Stack, queue: str, definition: dict[str, Any]) -> None:
    name = quote(queue, safe="")
    api = f"{stack.management_url}/api"
    pattern = "^" + queue.replace(".", r"\.") + "$"
    policy = {"pattern": pattern, "definition": definition, "apply-to": "queues", "priority": 9}
    requests.put(
        f"{api}/policies/%2F/{name}", json=policy, auth=_AUTH, timeout=30
    ).raise_for_status()


def _control(stack: Stack, *words: str) -> None:
    env = dict(stack.parts["rabbitmq"].env)
    subprocess.run([_CONTROL, *words], env=env, check=True, capture_output=True)


def _alarmed(stack: Stack) -> bool:
    url = f"{stack.management_url}/api/health/checks/alarms"
    return requests.get(url, auth=_AUTH, timeout=30).status_code == 503
