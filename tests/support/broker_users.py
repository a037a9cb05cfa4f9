"""Users of a real broker, with permissions as the documentation lists them."""

from __future__ import annotations

import json
import re
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Any

from demo.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
_ROW = re.compile(r"^\| `(\w+)` \| `(.+?)` \| `(.+?)` \| `(.+?)` \|$", re.M)
Permissions = dict[str, dict[str, str]]
"""What a user may configure, write and read, by name."""


def documented() -> Permissions:
    """The table of docs/requirements.md."""
    text = (ROOT / "docs/requirements.md").read_text()
    rows = _ROW.findall(text.partition("## Permissions in RabbitMQ")[2])
    kinds = ("configure", "write", "read")
    return {
        user: {kind: cell.replace("\\|", "|") for kind, cell in zip(kinds, cells, strict=True)}
        for user, *cells in rows
    }


def shipped() -> Permissions:
    """Those of deploy/rabbitmq/definitions.json."""
    definitions = json.loads((ROOT / "deploy/rabbitmq/definitions.json").read_text())
    return {
        entry.pop("user"): {kind: entry[kind] for kind in ("configure", "write", "read")}
        for entry in definitions["permissions"]
    }


def create_users(stack: Stack, job_queue: str, result_queue: str, *, tags: str = "") -> str:
    """Users with what is documented, for these queues; a name's ending by which they are known."""
    ending = f".{job_queue}"
    for user, permissions in documented().items():
        _put(stack, f"users/{user}{ending}", {"password": "word", "tags": tags})
        for_these = {
            kind: expression.replace("video-queue", job_queue).replace(
                "publish-queue", result_queue
            )
            for kind, expression in permissions.items()
        }
        _put(stack, f"permissions/%2f/{user}{ending}", for_these)
    return ending


def _put(stack: Stack, path: str, content: dict[str, Any]) -> None:
    request = urllib.request.Request(
        f"{stack.management_url}/api/{path}",
        json.dumps(content).encode(),
        headers={
            "Authorization": f"Basic {b64encode(b'guest:guest').decode()}",
            "Content-Type": "application/json",
        },
        method="PUT",
    )
    urllib.request.urlopen(request).close()
