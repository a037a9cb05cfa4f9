"""Several addresses of the broker: the first that answers is taken, at every connect anew."""

from __future__ import annotations

import socket

import pytest

from demo.stack import Stack
from tests.integration.exporter.conftest import exporter_for
from tests.support.fault_proxy import FaultProxy

pytestmark = pytest.mark.integration
UP = "autoscaler_source_up"


def test_an_exporter_takes_the_first_that_answers(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first_port = taken.getsockname()[1]
    login = "amqp://guest:guest@127.0.0.1"
    with FaultProxy(stack.amqp_port) as second:
        addresses = f"amqp://nobody.invalid,{login}:{first_port}/,{login}:{second.port}/"
        with exporter_for(stack, RABBIT_URL=addresses) as probe:
            probe.until(lambda seen: seen.value(UP, source="amqp") == 1, "up by the second")
            assert second._pairs
            listener = socket.create_server(("127.0.0.1", first_port))
            with FaultProxy(stack.amqp_port, listener) as first:
                while second.cut():
                    pass
                probe.until(lambda _: first._pairs, "connected to the first")
                probe.until(lambda seen: seen.value(UP, source="amqp") == 1, "up by the first")
                assert not second._pairs
            probe.until(lambda _: second._pairs, "connected to the second again")
            probe.until(lambda seen: seen.value(UP, source="amqp") == 1, "up by the second again")
