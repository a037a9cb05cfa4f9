"""One server for each test, on loopback, with a Prometheus that says what the test wants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
def served(prometheus: FakePrometheus) -> Iterator[Serving]:
    with serving(prometheus) as one:
        yield one


@pytest.fixture
def keda(served: Serving) -> Iterator[Keda]:
    with grpc.insecure_channel(served.address) as channel:
        yield Keda(channel)
