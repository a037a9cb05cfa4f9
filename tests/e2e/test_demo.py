"""`make demo` itself: what it promises, and what it leaves behind when it is stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/getting-started/local.md"


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        # Whoever starts the tests in the background has Ctrl-C ignored, and all below inherit that.
        ["env", "--default-signal=INT", sys.executable, "-um", "demo", "--folder", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def running_in(folder: Path) -> list[str]:
    """Command lines of live processes that name the folder, or were given it."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line, env = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except (OSError, ValueError):
            continue
        if entry.name.isdigit() and str(folder).encode() in line + env:
            found.append(line.replace(b"\0", b" ").decode())
    return found


def read_until(demo: subprocess.Popen[str], words: str) -> None:
    assert demo.stdout is not None
    for line in demo.stdout:
        if words in line:
            return
    pytest.fail(f"the demo ended before saying {words!r}")


def streams(video: Path) -> set[tuple[str, int | None, int | None]]:
    entries = "stream=codec_name,width,height"
    command = ["ffprobe", "-v", "error", "-show_entries", entries, "-of", "json", str(video)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)["streams"]
    return {(s["codec_name"], s.get("width"), s.get("height")) for s in found}


def test_the_first_page_leads_to_twelve_videos_and_leaves_nothing_running(tmp_path: Path) -> None:
    """The first page of "getting started", followed to the letter from an empty folder."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 2
    env = {**os.environ, "REPOSITORY": str(ROOT)}
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "SCALING_CONFIG"):
        env.pop(name, None)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        check=False,
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    said, folder = done.stdout, tmp_path / "rabbitreels-autoscaler/.run/demo"
    assert done.returncode == 0, said[-3000:] + done.stderr[-3000:]
    assert "all jobs done" in said
    videos = sorted((folder / "videos").glob("*.mp4"))
    assert len(videos) == 12
    for video in videos:
        assert streams(video) == {("h264", 1080, 1920), ("aac", None, None)}
    assert int(said.split("peak fleet ")[1].split(",")[0]) >= 4
    assert "now 1" in said
    assert (folder / "burst.png").stat().st_size > 10_000
    assert running_in(folder) == []


@pytest.mark.parametrize(
    ("sig", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_stopped_in_the_middle_it_takes_everything_with_it(
    tmp_path: Path, sig: signal.Signals, code: int
) -> None:
    folder = tmp_path / "stack"
    demo = start(folder)
    read_until(demo, "sending a burst")
    assert running_in(folder)
    os.kill(demo.pid, sig)
    demo.communicate(timeout=300)
    assert demo.returncode == code
    until(lambda: not running_in(folder), "all parts gone")
