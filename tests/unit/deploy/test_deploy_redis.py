"""Every Redis that is shipped has an end to its memory, and gives up the right things first."""

from __future__ import annotations

import inspect
import itertools
from pathlib import Path

import pytest
import yaml

from demo.stack import Stack

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("file", ["docker-compose.yml", "deploy/swarm/stack.yml"])
def test_a_shipped_redis_is_bounded(file: str) -> None:
    services = yaml.safe_load((ROOT / file).read_text())["services"]
    command = services["redis"]["command"]
    # Options of the command line hold over those of a file.
    given = dict(itertools.pairwise(command))
    assert given["--maxmemory"] == "256mb"
    assert given["--maxmemory-policy"] == "volatile-lru"


def test_so_is_the_one_of_demo_and_tests() -> None:
    assert "--maxmemory 256mb --maxmemory-policy volatile-lru" in inspect.getsource(Stack._redis)
