"""The images of the tests: stand-ins under official names, and the shipped Dockerfile.

No registry is needed. The base is made by mmdebstrap; everything else is built on top of it by
the engine, whose layer cache makes the second run fast.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.swarm.engine import CACHE, Engine, EngineError

ROOT = Path(__file__).resolve().parents[2]
STANDINS = Path(__file__).resolve().parent / "standins"
DOCKERFILE = ROOT / "deploy" / "images" / "Dockerfile"
BASE = "debian:bookworm-slim"
PYTHON = "python:3.11-slim-bookworm"
# Official name -> folder of its stand-in. The shipped stack file names exactly these.
OFFICIAL = {
    "rabbitmq:4.1-management": "rabbitmq",
    "redis:7.4": "redis",
    "prom/prometheus:v3.5.0": "prometheus",
    "prom/alertmanager:v0.28.1": "alertmanager",
}
PROGRAMS = ("exporter", "scaler", "worker", "gateway")
_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_MAX_AGE = "72h"
_NO_APT_CACHES = 'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n'


def program_image(program: str, tag: str = "latest") -> str:
    """The name under which a program's image ships."""
    return f"rabbitreels/{program}:{tag}"


def build_base(engine: Engine) -> None:
    """A minimal Debian under its official name, with this machine's own CA bundle for pip."""
    files = {
        "/etc/pip-ca.crt": _CA_BUNDLE.read_text(),
        "/etc/pip.conf": "[global]\ncert = /etc/pip-ca.crt\n",
        # As in the official images: apt's own caches, tens of megabytes, are not kept.
        "/etc/apt/apt.conf.d/docker-clean": _NO_APT_CACHES,
    }
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:12]
    ours = f"stand-in-base:{digest}"
    if not engine.cli("images", "--quiet", ours).strip():
        tar = CACHE / f"bookworm-{digest}.tar"
        if not tar.exists():
            _make_root(tar, files)
        engine.cli("import", str(tar), ours)
    engine.cli("tag", ours, BASE)


def _make_root(tar: Path, files: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="rr-base-") as folder:
        hooks = []
        for number, (path, content) in enumerate(files.items()):
            local = Path(folder) / str(number)
            local.write_text(content)
            hooks.append(f"--customize-hook=upload {local} {path}")
        fresh = Path(folder) / "base.tar"
        include = "--include=ca-certificates"
        made = subprocess.run(
            ["mmdebstrap", "--variant=minbase", include, *hooks, "bookworm", str(fresh)],
            check=False,
            capture_output=True,
            text=True,
            timeout=600,
        )
        if made.returncode != 0:
            raise EngineError(f"mmdebstrap ended with {made.returncode}:\n{made.stderr[-3000:]}")
        shutil.move(fresh, tar)


def build_image(engine: Engine, name: str, folder: str) -> None:
    """The stand-in of that folder under the official name."""
    engine.cli("build", "--network", "host", "--tag", name, str(STANDINS / folder))


def build_standins(engine: Engine) -> None:
    """Every stand-in, under the official name."""
    build_base(engine)
    for name, folder in {PYTHON: "python", **OFFICIAL}.items():
        build_image(engine, name, folder)


def build_programs(engine: Engine, programs: tuple[str, ...] = PROGRAMS) -> None:
    """The shipped Dockerfile, unchanged, over the stand-in base."""
    for program in programs:
        engine.cli(
            "build", "--network", "host", "--file", str(DOCKERFILE),
            "--build-arg", f"PROGRAM={program}", "--tag", program_image(program), str(ROOT),
        )  # fmt: skip
    engine.cli("image", "prune", "--force", "--filter", f"until={_MAX_AGE}")


def size_over_base(engine: Engine, image: str) -> int:
    """Bytes that `image` adds to the Python base."""
    api = engine.api
    return int(api.inspect_image(image)["Size"]) - int(api.inspect_image(PYTHON)["Size"])
