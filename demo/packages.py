"""Installs what is missing from the distribution. Standard library only: it runs before `.venv`.

python3 -m demo.packages setup|demo|test
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Debian package -> a file that proves it is there. A group includes those before it.
_GROUPS: dict[str, dict[str, str]] = {
    "setup": {"python3-venv": ""},
    "demo": {
        "rabbitmq-server": "/usr/lib/rabbitmq/bin/rabbitmq-server",
        "redis-server": "/usr/bin/redis-server",
        "prometheus": "/usr/bin/prometheus",
        "prometheus-alertmanager": "/usr/bin/prometheus-alertmanager",
        "espeak-ng": "/usr/bin/espeak-ng",
        "ffmpeg": "/usr/bin/ffmpeg",
        "fonts-dejavu-core": "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
        "fonts-noto-color-emoji": "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
        "fonts-noto-core": "/usr/share/fonts/truetype/noto/NotoSans-Bold.ttf",
        # Chinese, Japanese and Korean in 5 MB, where fonts-noto-cjk takes 91.
        "fonts-wqy-microhei": "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    },
    "test": {
        "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
        "chromium": "/usr/bin/chromium",
        "docker.io": "/usr/sbin/dockerd",
        "iproute2": "/sbin/ip",
        "iptables": "/usr/sbin/iptables",
        "mmdebstrap": "/usr/bin/mmdebstrap",
        "procps": "/usr/bin/pgrep",
    },
}


def missing(group: str) -> list[str]:
    """The packages of `group`, and of those it includes, that are not installed."""
    wanted: dict[str, str] = {}
    for name, packages in _GROUPS.items():
        wanted |= packages
        if name == group:
            break
    return [package for package, proof in wanted.items() if not _present(package, proof)]


def _present(package: str, proof: str) -> bool:
    if package == "python3-venv":
        # Debian ships venv without ensurepip, which this package brings.
        check = [sys.executable, "-c", "import ensurepip, venv"]
        return subprocess.run(check, check=False, capture_output=True).returncode == 0
    return Path(proof).exists()


def install(packages: list[str]) -> None:
    """Install `packages` with apt, as root or through sudo, without starting their services.

    Exits with 3 and a line that says what to install where that is not possible.
    """
    prefix = [] if os.geteuid() == 0 else ["sudo"]
    if shutil.which("apt-get") is None or (prefix and shutil.which("sudo") is None):
        print(
            f"missing: {' '.join(packages)}. These are the names of Debian packages; install "
            "them (as root: apt-get install …), or what your system calls them, and run again.",
            file=sys.stderr,
        )
        raise SystemExit(3)
    print(f"installing from the distribution: {' '.join(packages)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        # The demo starts private processes of its own; the system's services stay off.
        policy = Path("/usr/sbin/policy-rc.d")
        ours = Path(folder) / "policy-rc.d"
        ours.write_text("#!/bin/sh\nexit 101\n")
        keep_off = not policy.exists()
        if keep_off:
            subprocess.run([*prefix, "install", "-m755", str(ours), str(policy)], check=True)
        try:
            _apt(prefix, ["update", "-q"])
            _apt(prefix, ["install", "-qy", "--no-install-recommends", *packages])
        finally:
            if keep_off:
                subprocess.run([*prefix, "rm", "-f", str(policy)], check=True)


def _apt(prefix: list[str], arguments: list[str]) -> None:
    command = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stdout[-2000:] + done.stderr[-2000:], file=sys.stderr)
        print(f"failed: {' '.join(command)}", file=sys.stderr)
        raise SystemExit(3)


def main(arguments: list[str]) -> int:
    """Install what the named group lacks."""
    if len(arguments) != 1 or arguments[0] not in _GROUPS:
        print(f"usage: python3 -m demo.packages {'|'.join(_GROUPS)}", file=sys.stderr)
        return 2
    lacking = missing(arguments[0])
    if lacking:
        install(lacking)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
