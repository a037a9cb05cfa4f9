"""What is left by processes that died is removed, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import until
from worker import scratch
from worker.errors import TransientError
from worker.storage import FolderStorage

DAY_S = 86_400
OWNER = "host-0a1b2c3d-17-4711"
LEFT_BY_ANOTHER = [f"rabbitreels-{OWNER}.00112233", f".job.1.{OWNER}.00112233.part.mp4"]
LEFT_BY_AN_OLD_VERSION = ".job-1.0123456789abcdef0123456789abcdef.part.mp4"
NOT_OURS = [
    "render-x7h2k9qa",
    "rabbitreels-notes",
    f"rabbitreels-{OWNER}",
    ".mine.part.mp4",
    ".job.0123456789abcdef0123456789abcdef.mp4",
    f"job.{OWNER}.00112233.part.mp4",
    "job.mp4",
]
LEAVES_THINGS_BEHIND = """
import sys
from pathlib import Path
from worker import scratch
with scratch.scratch_folder() as folder:
    (folder / "stage0.pam").write_bytes(b"pixels")
    scratch.part(Path(sys.argv[1]), "job-1").write_bytes(b"half a video")
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a scratch folder and a part file in `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", LEAVES_THINGS_BEHIND, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    with process:
        yield process
        process.kill()


def make(place: Path, name: str, *, age_s: float = 0.0) -> Path:
    path = place / name
    if name.startswith("r"):
        path.mkdir()
        (path / "inside").touch()
    else:
        path.touch()
    at = path.stat().st_mtime - age_s
    os.utime(path, (at, at))
    return path


def test_what_a_killed_process_leaves_is_removed_at_once(
    writer: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    (folder,) = tmp_path.glob("rabbitreels-*")
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))  # however long ago it was written to
    assert scratch.sweep(tmp_path) == 0
    assert (folder / "stage0.pam").exists()
    writer.kill()
    # Not buried yet: the process is still in the table, with its id and its beginning.
    until(lambda: scratch.sweep(tmp_path))
    assert list(tmp_path.iterdir()) == []
    writer.wait()


def test_what_a_process_with_the_same_id_left_is_removed(tmp_path: Path) -> None:
    mine = scratch.part(tmp_path, "job")
    realm_and_pid, _, rest = mine.name.rpartition("-")
    _, _, token = rest.partition(".")
    make(tmp_path, f"{realm_and_pid}-1.{token}")
    mine.touch()
    assert scratch.sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [mine]


@pytest.mark.parametrize("name", [*LEFT_BY_ANOTHER, LEFT_BY_AN_OLD_VERSION])
def test_what_others_left_goes_by_its_age(name: str, tmp_path: Path) -> None:
    path = make(tmp_path, name, age_s=DAY_S - 60)
    assert scratch.sweep(tmp_path) == 0
    assert path.exists()
    at = path.stat().st_mtime - 120
    os.utime(path, (at, at))
    assert scratch.sweep(tmp_path, 2 * DAY_S) == 0
    assert scratch.sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NOT_OURS)
def test_what_is_not_ours_stays(name: str, tmp_path: Path) -> None:
    path = make(tmp_path, name, age_s=1000 * DAY_S)
    assert scratch.sweep(tmp_path) == 0
    assert path.exists()


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    link = tmp_path / LEFT_BY_ANOTHER[0]
    link.symlink_to(precious)
    os.utime(link, (0, 0), follow_symlinks=False)
    assert scratch.sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [precious]


def test_sweeping_never_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert scratch.sweep(tmp_path / "nowhere") == 0
    path = make(tmp_path, LEFT_BY_ANOTHER[1], age_s=9 * DAY_S)
    assert scratch.sweep(path) == 0

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        # Without the clock of the file system no age is known.
        patched.setattr(Path, "touch", full)
        assert scratch.sweep(tmp_path) == 0
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", full)
        assert scratch.sweep(tmp_path) == 0
    assert path.exists()


def test_a_worker_sweeps_its_output_and_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    storage = FolderStorage(tmp_path / "videos")
    used = storage.workplace("job")
    used.touch()
    make(temporary, LEFT_BY_ANOTHER[0], age_s=2 * DAY_S)
    make(storage.works_in, LEFT_BY_ANOTHER[1], age_s=2 * DAY_S)
    kept = make(storage.works_in, LEFT_BY_AN_OLD_VERSION, age_s=2 * DAY_S)
    scratch.keep_swept([storage.works_in], job_timeout_s=DAY_S)
    os.utime(kept, (0, 0))  # else it would be kept for three times the job timeout
    scratch.keep_swept([storage.works_in], job_timeout_s=1)
    until(lambda: not list(temporary.iterdir()) and list(storage.works_in.iterdir()) == [used])


def test_names_fit_into_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "a-very.long/host name" * 20)
    path = FolderStorage(tmp_path).workplace("j" * 128)
    path.touch()
    assert len(path.name) <= 255
    os.utime(path, (0, 0))
    assert scratch.sweep(tmp_path) == 0


def test_a_folder_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(TransientError, match="nowhere"), scratch.scratch_folder():
        pass


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "the disk is full: no room to write in /there"),
        (OSError(122, "Disk quota exceeded"), "the disk is full.*quota"),
        (OSError(13, "Permission denied", "/there/x"), "can't be read or written.*'/there/x'"),
    ],
)
def test_a_full_disk_is_called_so(error: OSError, words: str) -> None:
    with pytest.raises(TransientError, match=words):
        raise scratch.unwritable(error, Path("/there"))
