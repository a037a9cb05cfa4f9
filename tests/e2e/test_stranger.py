"""The first page of "getting started", followed to the letter from an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/getting-started/local.md"


def test_the_local_page_works_as_written(tmp_path: Path) -> None:
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
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "all jobs done" in done.stdout
    videos = list((tmp_path / "rabbitreels-autoscaler/.run/demo/videos").glob("*.mp4"))
    assert len(videos) == 12
