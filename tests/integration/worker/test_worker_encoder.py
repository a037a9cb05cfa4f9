"""The encoder and the rendering process: any file name, any amount of output, a full disk."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import wave
from pathlib import Path

import pytest
from PIL import Image

from tests.support.waiting import until
from worker.errors import TransientError
from worker.renderer import Renderer
from worker.storage import is_whole_mp4
from worker.video.encode import Film, Track, encode, save

pytestmark = pytest.mark.integration

NAMES = [
    "10:30",
    "it's",
    "two words",
    "100%",
    "%03d",
    "back\\slash",
    "new\nline",
    "-y",
    "pipe:1",
    "concat:a|b",
    "[v0];anullsrc",
    'a"b#c?d&e=f',
    "Grüße 你好",
    "\udcff",  # no UTF-8
]
FULL = "/dev/full"


def film(folder: Path) -> Film:
    folder.mkdir(exist_ok=True)
    sound = folder / "sound.wav"
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16_000))
    stage = save(Image.new("RGB", (64, 64), "navy"), folder, "stage0")
    caption = save(Image.new("RGBA", (64, 16), (255, 255, 255, 90)), folder, "caption0")
    return Film([Track([(0, stage)]), Track([(0, caption), (5, caption)], y=8)], sound, 10)


def encoded(made: Film, path: Path, folder: Path) -> None:
    encode(made, path, folder=folder, threads=1, report=lambda _: None)


def whole(path: Path) -> bool:
    with path.open("rb") as file:
        return is_whole_mp4(file, path.stat().st_size)


@pytest.mark.parametrize("name", NAMES)
def test_a_path_of_any_characters_is_just_a_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, place = tmp_path / name, tmp_path / f"{name} too"
    place.mkdir()
    plain = film(folder)
    encoded(plain, place / f"{name}.mp4", folder)
    assert whole(place / f"{name}.mp4")
    (place / f"{name}.wav").write_bytes(plain.sound.read_bytes())
    themed = Film(
        plain.tracks,
        plain.sound,
        plain.frames,
        background=(place / f"{name}.mp4"),
        music=(place / f"{name}.wav", 0.5),
    )
    monkeypatch.chdir(place)
    encoded(themed, Path(f"{name} again.mp4"), folder)
    assert whole(Path(f"{name} again.mp4"))


def test_an_encoder_that_complains_at_length_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        "head -c 1000000 /dev/zero | tr '\\0' '\\377' >&2\n"
        "echo frame=5; echo 'this was the matter' >&2; exit 7\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    shares: list[float] = []
    with pytest.raises(TransientError, match=r"ffmpeg ended with code 7: .*this was the matter$"):
        encode(
            film(tmp_path / "work"),
            tmp_path / "x.mp4",
            folder=tmp_path / "work",
            threads=1,
            report=shares.append,
        )
    assert shares == [0.5]


def test_an_encoder_is_ended_with_the_render(tmp_path: Path) -> None:
    made = film(tmp_path / "work")
    endless = Film(made.tracks, made.sound, 10**6)

    def leave(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(endless, tmp_path / "x.mp4", folder=tmp_path / "work", threads=1, report=leave)


def test_a_full_disk_under_the_video_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.symlink_to(FULL)
    with pytest.raises(TransientError, match="the disk is full: no room for the video in "):
        encoded(film(tmp_path / "work"), path, tmp_path / "work")


def run(code: str) -> dict[str, object]:
    renderer = Renderer([sys.executable, "-c", code], timeout_s=60)
    return renderer.run({}, lambda *_: None, lambda: None)


def test_a_renderer_may_print_whatever_it_likes() -> None:
    code = """
import os, subprocess, sys
from worker.video import child
def rendering(request, say):
    print("a library's greeting")
    os.write(1, b"from C" * 100_000)
    subprocess.run(["sh", "-c", "echo from a program; head -c 1000000 /dev/zero >&2"])
    say(progress=0.5, stage="half")
    return 2.0
child._render = rendering
child.main()
"""
    assert run(code) == {"seconds": 2.0}


def test_the_end_of_what_a_renderer_wrote_is_told() -> None:
    code = "import sys; sys.stderr.write('x' * 1_000_000 + ' at last'); sys.exit(3)"
    with pytest.raises(TransientError, match=r"the renderer ended with code 3: .* at last$"):
        run(code)


def test_a_renderer_s_temporary_files_go_with_it(tmp_path: Path) -> None:
    note = tmp_path / "note"
    code = f"""
import os, pathlib, tempfile
folder = tempfile.mkdtemp()
pathlib.Path({str(note)!r}).write_text(folder)
os.kill(os.getpid(), 9)
"""
    with pytest.raises(TransientError, match="SIGKILL"):
        run(code)
    assert not Path(note.read_text()).exists()


def job(tmp_path: Path, text: str = "Hello!") -> Path:
    content = {
        "job_id": "one",
        "title": "One",
        "character_theme": "orbit",
        "turns": [{"speaker": "zia", "text": text}],
    }
    path = tmp_path / "job.json"
    path.write_text(json.dumps(content))
    return path


def test_the_render_command_takes_any_name_and_leaves_only_the_video(tmp_path: Path) -> None:
    temporary = tmp_path / "it's \n 10:30"
    temporary.mkdir()
    out = tmp_path / "out"
    out.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "worker", "render", str(job(tmp_path)), "-o", "10:30.mp4"],
        cwd=out,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("10:30.mp4: ")
    assert [path.name for path in out.iterdir()] == ["10:30.mp4"]
    assert whole(out / "10:30.mp4")
    assert list(temporary.iterdir()) == []


def test_a_render_command_that_is_ended_leaves_nothing(tmp_path: Path) -> None:
    temporary, out = tmp_path / "temporary", tmp_path / "out"
    temporary.mkdir()
    out.mkdir()
    text = "A long line that takes its time to be drawn and encoded. " * 30
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "render", str(job(tmp_path, text)), "-o", str(out / "x")],
        env={**os.environ, "TMPDIR": str(temporary)},
        stderr=subprocess.DEVNULL,
    )
    with process:
        until(lambda: list(temporary.iterdir()))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert list(temporary.iterdir()) == []
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("name", ["", "nowhere/x.mp4"])
def test_a_place_that_is_none_is_refused_before_any_work(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "worker", "render", str(job(tmp_path)), "-o", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("--out: ")


def test_a_disk_that_fills_up_while_rendering_is_told(tmp_path: Path) -> None:
    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = subprocess.run(
        [sys.executable, "-m", "worker", "render", str(job(tmp_path)), "-o", str(tmp_path / "x")],
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=little_room,
    )
    assert done.returncode == 1
    assert "the disk is full: no room to write in " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]
