"""Ports that stay one's own between being chosen and being bound."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demo import ports

ASK = "from demo.ports import free_ports; print(*free_ports(3), flush=True); input()"


def test_no_other_process_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ASK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as other:
        assert other.stdout is not None
        theirs = [int(word) for word in other.stdout.readline().split()]
        monkeypatch.setattr(ports, "_FIRST", theirs[0])
        monkeypatch.setattr(ports, "_END", theirs[0] + 1)
        with pytest.raises(OSError, match="no 3 adjacent free ports"):
            ports.free_ports(3)
        other.communicate("")
    assert ports.free_ports(3) == theirs


def test_a_port_on_which_somebody_listens_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *_, last = ports.free_ports(16)
    ports._claims.pop().close()
    monkeypatch.setattr(ports, "_FIRST", first)
    monkeypatch.setattr(ports, "_END", first + 1)
    with (
        socket.create_server(("127.0.0.1", last)),
        pytest.raises(OSError, match="no 16 adjacent free ports"),
    ):
        ports.free_ports(16)
    assert ports.free_ports(15)[0] == first


def test_no_outgoing_connection_is_given_one() -> None:
    lowest, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert max(ports.free_ports(16)) < int(lowest)
