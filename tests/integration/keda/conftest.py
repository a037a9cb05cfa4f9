"""One server for each test, on loopback, with a Prometheus that says what the test wants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.keda import FakePrometheus, Keda, Serving, serving
from tests.support.keda_tls import Certificates


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def prometheus() -> Iterator[FakePrometheus]:
    with FakePrometheus().serve() as fake:
        yield fake


@pytest.fixture
def times() -> Mapping[str, Any]:
    """Settings of the server; a test that asks how long it waits has AS_SHIPPED in their place."""
    return {}


@pytest.fixture
def served(prometheus: FakePrometheus, times: Mapping[str, Any]) -> Iterator[Serving]:
    with serving(prometheus, **times) as one:
        yield one


@pytest.fixture
def keda(served: Serving) -> Iterator[Keda]:
    with grpc.insecure_channel(served.address) as channel:
        yield Keda(channel)
