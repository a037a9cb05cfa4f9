"""A private Docker engine: own data, sockets and processes, nothing left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import docker

from tests.support.waiting import until

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rabbitreels-autoscaler"
_BRIDGES = ("docker0", "docker_gwbridge")
_PREFIX = "rr-engine-"
_OWNER = "owner"
_NEEDED = (
    "dockerd",
    "docker",
    "containerd",
    "runc",
    "mmdebstrap",
    "setpriv",
    "nsenter",
    "ip",
    "iptables",
)


class EngineError(Exception):
    """The engine could not be started, or a command of its client failed."""


def require_parts() -> None:
    """Raise EngineError naming what is missing: a Swarm test never passes by being skipped."""
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        packages = "docker.io mmdebstrap util-linux iproute2"
        raise EngineError(f"missing programs: {', '.join(missing)}; apt-get install {packages}")
    if os.geteuid() != 0:
        raise EngineError("the Swarm tests start an engine of their own and need root")


class Engine:
    """One `dockerd` with a containerd of its own. Use as a context manager.

    `data_root` is kept when given (its images and build layers serve the next run; containers,
    volumes and any Swarm state do not); otherwise the data goes with the engine.
    """

    def __init__(
        self, name: str, *, data_root: Path | None = None, netns: str | None = None
    ) -> None:
        self.name = name
        self._netns = netns
        _clear_after_the_killed()
        self._run = Path(tempfile.mkdtemp(prefix=_PREFIX))
        (self._run / _OWNER).write_text(str(os.getpid()))
        self._data = data_root or self._run / "data"
        self._own_bridges: list[str] = []
        self._firewall: bytes | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self.socket = self._run / "docker.sock"

    @property
    def host(self) -> str:
        """As in DOCKER_HOST."""
        return f"unix://{self.socket}"

    @property
    def scratch(self) -> Path:
        """A folder that goes with the engine."""
        folder = self._run / "scratch"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def api(self) -> Any:
        """docker-py's low-level client."""
        return docker.APIClient(base_url=self.host, version="auto", timeout=120)

    def __enter__(self) -> Engine:
        require_parts()
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until it answers."""
        self._data.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self._data / "in-use.lock")
        for stale in ("swarm", "network"):
            shutil.rmtree(self._data / stale, ignore_errors=True)
        if self._netns is None:
            self._own_bridges = [name for name in _BRIDGES if not _link_exists(name)]
            (self._run / "bridges").write_text(" ".join(self._own_bridges))
            self._firewall = subprocess.run(
                ["iptables-save"], capture_output=True, check=True
            ).stdout
        config = self._run / "daemon.json"
        config.write_text("{}")
        enter = ["nsenter", f"--net=/run/netns/{self._netns}"] if self._netns else []
        flags = ["--config-file", str(config), "--host", self.host, "--pidfile", f"{self._run}/pid"]
        flags += ["--data-root", str(self._data), "--exec-root", str(self._run / "exec")]
        flags += ["--bridge", "none", "--shutdown-timeout", "2", "--log-level", "warn"]
        # The engine, and with it its containers, ends also when the tests are killed.
        guard = ["setpriv", "--pdeathsig", "TERM"]
        log = (self._run / "dockerd.log").open("wb")
        self._process = subprocess.Popen(
            [*guard, *enter, "dockerd", *flags],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        log.close()
        until(self._answers, f"engine {self.name} answering", timeout_s=60)
        self._remove_containers()
        with contextlib.suppress(docker.errors.APIError):
            self.api.prune_volumes(filters={"all": True} if self._newer_api() else None)

    def _newer_api(self) -> bool:
        return tuple(map(int, self.api.api_version.split("."))) >= (1, 42)

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise EngineError(f"dockerd ended with {self._process.returncode}:\n{self.log_tail()}")
        try:
            return bool(docker.APIClient(base_url=self.host, version="1.41").ping())
        except (docker.errors.DockerException, OSError):
            return False

    def log_tail(self, lines: int = 30) -> str:
        """The end of the engine's own log."""
        text = (self._run / "dockerd.log").read_text("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])

    def cli(self, *args: str, env: dict[str, str] | None = None, timeout_s: float = 900) -> str:
        """What `docker ARGS` printed; EngineError with its output when it fails."""
        variables = {**os.environ, **(env or {}), "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0"}
        variables["DOCKER_CONFIG"] = str(self._run / "client")
        done = subprocess.run(
            ["docker", *args],
            capture_output=True,
            text=True,
            env=variables,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            output = (done.stdout + done.stderr)[-4000:]
            raise EngineError(f"docker {' '.join(args)} ended with {done.returncode}:\n{output}")
        return done.stdout

    def swarm_init(self, address: str = "127.0.0.1") -> None:
        """Make this engine the manager of a Swarm of one."""
        self.cli("swarm", "init", "--advertise-addr", address, "--task-history-limit", "20")

    def _remove_containers(self) -> None:
        api = self.api
        for container in api.containers(all=True, quiet=True):
            with contextlib.suppress(docker.errors.APIError):
                api.remove_container(container["Id"], force=True, v=True)

    def stop(self) -> None:
        """Kill the containers, end the engine, remove what it made."""
        process = self._process
        if process is not None and process.poll() is None:
            self._leave()
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._end_leftovers()
        _unmount_below(self._run)
        _unmount_below(self._data)
        _delete_links(self._own_bridges)
        if self._firewall is not None:
            subprocess.run(["iptables-restore"], input=self._firewall, check=False)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        shutil.rmtree(self._run, ignore_errors=True)

    def _leave(self) -> None:
        with contextlib.suppress(docker.errors.DockerException, OSError):
            self.api.leave_swarm(force=True)
        with contextlib.suppress(docker.errors.DockerException, OSError):
            self._remove_containers()

    def _end_leftovers(self) -> None:
        """End this engine's own containerd and shims if any outlived it, by their exact root."""
        mark = str(self._run / "exec").encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "cmdline").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)


def _clear_after_the_killed() -> None:
    """Take away what runs have left that were killed before they could: mounts, bridges, files.
    Their engines have ended with them."""
    for run in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = run / _OWNER
        if not owner.exists() or Path("/proc", owner.read_text()).exists():
            continue
        _unmount_below(run)
        if (run / "bridges").exists():
            _delete_links((run / "bridges").read_text().split())
        shutil.rmtree(run, ignore_errors=True)


def _delete_links(names: Iterable[str]) -> None:
    for name in names:
        if _link_exists(name):
            subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)


def _locked(path: Path) -> int:
    """An exclusive lock: two runs never share one data root; the later one waits."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    os.set_inheritable(handle, False)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _link_exists(name: str) -> bool:
    return Path("/sys/class/net", name).exists()


def _unmount_below(root: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{root}/")), reverse=True):
        subprocess.run(["umount", "-l", mount], check=False, capture_output=True)


@contextlib.contextmanager
def image_engine() -> Iterator[Engine]:
    """The engine whose image cache outlives the run."""
    with Engine("images", data_root=CACHE / "engine") as engine:
        yield engine
