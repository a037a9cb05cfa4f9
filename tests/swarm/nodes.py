"""Several engines joined as one Swarm, each in a network namespace of its own."""

from __future__ import annotations

import contextlib
import ctypes
import io
import socket
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.waiting import until
from tests.swarm.engine import Engine
from tests.swarm.images import BASE, ROOT

_HUB = "rr-hub"
_SUBNET = "10.231.7"
_CLONE_NEWNET = 0x4000_0000
HOLLOW = "hollow:test"
"""An image with nothing in it, for programs of this machine; see `this_machine`."""


class Nodes:
    """`count` engines; the first is the manager. The network between them is a bridge in a
    further namespace, so that nothing of it is seen in the machine's own."""

    def __init__(self, count: int) -> None:
        self._names = [f"rr-node{number}" for number in range(1, count + 1)]
        self.engines = [Engine(name[3:], netns=name) for name in self._names]
        self.manager = self.engines[0]

    def __enter__(self) -> Nodes:
        try:
            self._connect()
            for engine in self.engines:
                engine.__enter__()
            self.manager.swarm_init(self.address(0))
            token = self.manager.cli("swarm", "join-token", "--quiet", "worker").strip()
            for number, engine in enumerate(self.engines[1:], 1):
                where = f"{self.address(0)}:2377"
                own = self.address(number)
                engine.cli("swarm", "join", "--token", token, "--advertise-addr", own, where)
            self.await_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for engine in reversed(self.engines):
            engine.stop()
        for name in (*self._names, _HUB):
            if Path("/run/netns", name).exists():
                _ip("netns", "delete", name)

    def address(self, number: int) -> str:
        """Of the engine of that number."""
        return f"{_SUBNET}.{number + 1}"

    def ids(self) -> list[str]:
        """Node ids, in the order of the engines."""
        return [engine.api.info()["Swarm"]["NodeID"] for engine in self.engines]

    def availability(self, node: str, word: str) -> None:
        """`active`, `pause` or `drain`."""
        self.manager.cli("node", "update", "--availability", word, node)

    def cut(self, number: int) -> None:
        """Take the node off the network; its containers go on."""
        _ip("-n", _HUB, "link", "set", f"port{number}", "down")

    def mend(self, number: int) -> None:
        """Put it on the network again."""
        _ip("-n", _HUB, "link", "set", f"port{number}", "up")

    def listener(self, number: int) -> socket.socket:
        """A listening socket at that engine's address, of use to whoever is outside."""
        with ThreadPoolExecutor(1) as thread, Path("/run/netns", self._names[number]).open() as ns:
            return thread.submit(_listen_in, ns.fileno(), self.address(number)).result()

    def _connect(self) -> None:
        for name in (*self._names, _HUB):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", name)
            _ip("netns", "add", name)
        _ip("-n", _HUB, "link", "add", "bridge", "type", "bridge")
        _ip("-n", _HUB, "link", "set", "bridge", "up")
        for number, name in enumerate(self._names):
            port = f"port{number}"
            # Both ends are made where they stay, so that nothing of it is left on a failure.
            _ip("-n", _HUB, "link", "add", port, "type", "veth", "peer", "eth0", "netns", name)
            _ip("-n", _HUB, "link", "set", port, "master", "bridge")
            _ip("-n", _HUB, "link", "set", port, "up")
            _ip("-n", name, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
            # No way out: an engine that looks for an image in a registry gives up at once.

    def await_ready(self) -> None:
        """Until the manager sees every node again."""
        until(self._all_ready, "all nodes ready")

    def _all_ready(self) -> bool:
        nodes: list[Any] = self.manager.api.nodes()
        ready = [node for node in nodes if node["Status"]["State"] == "ready"]
        return len(ready) == len(self.engines)


def _listen_in(namespace: int, address: str) -> socket.socket:
    """Moves the calling thread into the namespace, for good; a socket stays where it was made."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    return socket.create_server((address, 0))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def load_hollow(engine: Engine) -> None:
    """The layout of this machine's root, with nothing inside."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name in ("bin", "sbin", "lib", "lib64", "usr", "etc", "tmp"):
            here = Path("/", name)
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.SYMTYPE if here.is_symlink() else tarfile.DIRTYPE
            entry.linkname = str(here.readlink()) if here.is_symlink() else ""
            entry.mode = 0o755
            tar.addfile(entry)
    file = engine.scratch / "hollow.tar"
    file.write_bytes(content.getvalue())
    engine.cli("import", str(file), HOLLOW)


def this_machine(*folders: Path) -> list[str]:
    """Flags for a service of `HOLLOW` that runs this Python; `folders` may be written to."""
    read = {Path("/usr"), Path("/etc/alternatives"), Path(sys.base_prefix), ROOT, Path(sys.prefix)}
    mounts = [f"type=bind,source={path},target={path},readonly" for path in sorted(read)]
    mounts += [f"type=bind,source={path},target={path}" for path in folders]
    return [part for mount in mounts for part in ("--mount", mount)]


def load_shell(engine: Engine) -> None:
    """A few megabytes under the name of the base image: this machine's shell and sleep."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        programs = {"bin/sh": "/bin/dash", "bin/sleep": "/bin/sleep"}
        libraries = {
            path.lstrip("/"): path for one in programs.values() for path in _libraries(one)
        }
        for target, source in {**programs, **libraries}.items():
            tar.add(Path(source).resolve(), target)
    file = engine.scratch / "shell.tar"
    file.write_bytes(content.getvalue())
    engine.cli("import", str(file), BASE)


def _libraries(program: str) -> list[str]:
    listed = subprocess.run(["ldd", program], capture_output=True, check=True, text=True).stdout
    return [word for word in listed.split() if word.startswith("/")]
