"""From pictures with times to H.264: ffmpeg lays the layers over each other and encodes."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from worker.errors import TransientError
from worker.video.themes import HEIGHT, WIDTH
from worker.video.timeline import FPS

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Track:
    """Pictures of one size that follow each other: (frame, file), the first at frame 0."""

    pictures: Sequence[tuple[int, Path]]
    x: int = 0
    y: int = 0


def save(picture: Image.Image, folder: Path, name: str) -> Path:
    """Write a large picture as plain pixels: packing it would cost more than the space is worth."""
    kind, depth = ("RGB_ALPHA", 4) if picture.mode == "RGBA" else ("RGB", 3)
    path = folder / f"{name}.pam"
    header = (
        f"P7\nWIDTH {picture.width}\nHEIGHT {picture.height}\nDEPTH {depth}\nMAXVAL 255\n"
        f"TUPLTYPE {kind}\nENDHDR\n"
    )
    path.write_bytes(header.encode() + picture.tobytes())
    return path


def encode(
    path: Path,
    *,
    background: Path | None,
    tracks: Sequence[Track],
    sound: Path,
    frames: int,
    folder: Path,
    threads: int,
    report: Callable[[float], None],
) -> None:
    """Write the video to `path`. `report` is told the share that is done.

    `background` is a video that is played over again under the tracks; without it the first track
    must cover everything. Raises TransientError when ffmpeg fails.
    """
    command = _command(path, background, tracks, sound, frames, folder, threads)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread
        )
    except OSError as error:
        raise TransientError(f"ffmpeg is not installed on this host: {error}") from error
    assert process.stdout is not None
    for line in process.stdout:
        name, _, value = line.strip().partition("=")
        if name == "frame" and value.isdigit():
            report(min(1.0, int(value) / max(1, frames)))
    _, complaint = process.communicate()
    if process.returncode != 0:
        raise TransientError(f"ffmpeg failed: {' '.join(complaint.split())[-400:]}")


def _command(
    path: Path,
    background: Path | None,
    tracks: Sequence[Track],
    sound: Path,
    frames: int,
    folder: Path,
    threads: int,
) -> list[str]:
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-y"]
    command += ["-progress", "pipe:1", "-stats_period", "0.5"]
    command += ["-filter_complex_threads", "1"]
    if background is not None:
        command += ["-stream_loop", "-1", "-i", str(background)]
    for number, track in enumerate(tracks):
        listing = folder / f"track{number}.txt"
        listing.write_text(_listing(track, frames))
        command += ["-f", "concat", "-safe", "0", "-i", str(listing)]
    inputs = len(tracks) + (background is not None)
    command += ["-i", str(sound), "-filter_complex", _graph(background is not None, tracks, frames)]
    command += ["-map", "[video]", "-map", f"{inputs}:a"]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-threads", str(threads)]
    command += ["-pix_fmt", "yuv420p", "-r", str(FPS)]
    command += ["-c:a", "aac", "-b:a", "128k", "-ar", "44100", "-movflags", "+faststart"]
    return [*command, "-f", "mp4", str(path)]


def _listing(track: Track, frames: int) -> str:
    """The track for ffmpeg's concat demuxer; a picture's time is counted in whole frames."""
    ends = [at for at, _ in track.pictures[1:]] + [frames]
    lines = ["ffconcat version 1.0"]
    for (at, file), end in zip(track.pictures, ends, strict=True):
        lines += [f"file '{file}'", f"option framerate {FPS}", f"duration {(end - at) / FPS:.6f}"]
    return "\n".join(lines) + "\n"


def _graph(moving: bool, tracks: Sequence[Track], frames: int) -> str:
    fit = f"scale={WIDTH}:{HEIGHT}:force_original_aspect_ratio=increase,crop={WIDTH}:{HEIGHT},"
    # The last picture is held as long as needed; the trim at the end cuts to the frame.
    hold = f"format=yuv420p,fps={FPS},tpad=stop=-1:stop_mode=clone"
    steps = [f"[0:v]{fit if moving else ''}{hold}[v0]"]
    over = tracks if moving else tracks[1:]
    for number, track in enumerate(over, start=1):
        steps.append(f"[{number}:v]format=yuva420p[t{number}]")
        steps.append(f"[v{number - 1}][t{number}]overlay={track.x}:{track.y}[v{number}]")
    return ";".join([*steps, f"[v{len(over)}]trim=end_frame={frames}[video]"])


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # it was gone before
        os._exit(1)
