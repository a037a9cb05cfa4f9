"""An empty ledger on a real Redis, for whoever needs no other part."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from common.ledger import Ledger
from demo.stack import Stack


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Stack(tmp_path_factory.mktemp("redis") / "stack") as stack:
        yield stack.start("redis").redis_url


@pytest.fixture
def ledger(redis_url: str) -> Iterator[Ledger]:
    ledger = Ledger.connect(redis_url)
    ledger._redis.flushall()
    yield ledger
    ledger.close()
