"""From pictures with times to H.264: ffmpeg lays the layers over each other and encodes."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from worker.children import how_it_ended, last_words
from worker.errors import TransientError
from worker.video.themes import HEIGHT, WIDTH
from worker.video.timeline import FPS

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_TAIL_BYTES = 400


@dataclass(frozen=True, slots=True)
class Track:
    """Pictures of one size that follow each other: (frame, file), the first at frame 0.

    Files lie in the folder in which the film is encoded and have plain names.
    """

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


@dataclass(frozen=True, slots=True)
class Film:
    """Everything that is seen and heard, ready to be laid over each other."""

    tracks: Sequence[Track]
    """From the bottom up."""
    sound: Path
    frames: int
    background: Path | None = None
    """A video, played over again under the tracks; without it the first track covers all."""
    music: tuple[Path, float] | None = None
    """A file, played over again under the voices, and its volume."""


def encode(
    film: Film, path: Path, *, folder: Path, threads: int, report: Callable[[float], None]
) -> None:
    """Write the film to `path`, with notes in `folder`. `report` takes the share that is done.

    Raises TransientError when ffmpeg fails or the disk is full.
    """
    words = command(film, path, folder=folder, threads=threads)
    notes = folder / "ffmpeg.txt"
    # To a file, since a pipe that nobody reads yet would fill and stop the encoder.
    with notes.open("wb") as stderr:
        try:
            process = subprocess.Popen(
                words,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread
            )
        except OSError as error:
            raise TransientError(f"ffmpeg is not installed on this host: {error}") from error
        with process:
            try:
                _follow(process, film.frames, report)
            except BaseException:
                process.kill()
                raise
    if process.returncode != 0:
        raise TransientError(_complaint(process.returncode, notes, path))


def _follow(process: subprocess.Popen[bytes], frames: int, report: Callable[[float], None]) -> None:
    for line in process.stdout or ():
        name, _, value = line.decode("ascii", "replace").strip().partition("=")
        if name == "frame" and value.isdigit():
            report(min(1.0, int(value) / max(1, frames)))


def _complaint(code: int, notes: Path, path: Path) -> str:
    """Why ffmpeg failed, by the end of what it wrote."""
    with notes.open("rb") as file:
        tail = last_words(file, _TAIL_BYTES)
    full = os.strerror(errno.ENOSPC) in tail
    room = f"the disk is full: no room for the video in {path.parent}: " if full else ""
    return f"{room}ffmpeg {how_it_ended(code)}" + (f": …{tail}" if tail else "")


def command(film: Film, path: Path, *, folder: Path, threads: int) -> list[str]:
    """ffmpeg's command line for the film, to be run in `folder`, where notes are left for it."""
    words = "ffmpeg -nostdin -hide_banner -loglevel error -y -progress pipe:1 -stats_period 0.5"
    arguments = [*words.split(), "-filter_complex_threads", "1"]
    if film.background is not None:
        arguments += ["-stream_loop", "-1", "-i", _url(film.background)]
    for number, track in enumerate(film.tracks):
        name = f"track{number}.txt"
        (folder / name).write_text(_listing(track, film.frames))
        arguments += ["-f", "concat", "-safe", "0", "-i", name]
    inputs = len(film.tracks) + (film.background is not None)
    arguments += ["-i", _url(film.sound)]
    graph, sound = _graph(film), f"{inputs}:a"
    if film.music is not None:
        file, volume = film.music
        arguments += ["-stream_loop", "-1", "-i", _url(file)]
        graph += f";[{inputs + 1}:a]volume={volume}[music]"
        graph += f";[{inputs}:a][music]amix=duration=first:normalize=0[sound]"
        sound = "[sound]"
    arguments += ["-filter_complex", graph, "-map", "[video]", "-map", sound]
    return [*arguments, *encoding(threads), "-f", "mp4", _url(path)]


def _url(path: Path) -> str:
    """A path of any characters, so that ffmpeg reads it as just that."""
    return f"file:{path.absolute()}"


def encoding(threads: int) -> list[str]:
    """How ffmpeg is to encode picture and sound."""
    words = (
        f"-c:v libx264 -preset veryfast -crf 23 -threads {threads} -pix_fmt yuv420p -r {FPS} "
        # A short look ahead: pictures stand still between words, so a long one finds nothing more.
        "-x264-params rc-lookahead=5:sync-lookahead=0 "
        "-c:a aac -b:a 128k -ar 44100 -movflags +faststart"
    )
    return words.split()


def _listing(track: Track, frames: int) -> str:
    """The track for ffmpeg's concat demuxer; a picture's time is counted in whole frames."""
    ends = [at for at, _ in track.pictures[1:]] + [frames]
    lines = ["ffconcat version 1.0"]
    for (at, file), end in zip(track.pictures, ends, strict=True):
        seconds = f"{(end - at) / FPS:.6f}"
        lines += [f"file {file.name}", f"option framerate {FPS}", f"duration {seconds}"]
    return "\n".join(lines) + "\n"


def _graph(film: Film) -> str:
    moving = film.background is not None
    fit = f"scale={WIDTH}:{HEIGHT}:force_original_aspect_ratio=increase,crop={WIDTH}:{HEIGHT},"
    # The last picture is held as long as needed; the trim at the end cuts to the frame.
    hold = f"format=yuv420p,fps={FPS},tpad=stop=-1:stop_mode=clone"
    steps = [f"[0:v]{fit if moving else ''}{hold}[v0]"]
    over = film.tracks if moving else film.tracks[1:]
    for number, track in enumerate(over, start=1):
        steps.append(f"[{number}:v]format=yuva420p[t{number}]")
        steps.append(f"[v{number - 1}][t{number}]overlay={track.x}:{track.y}[v{number}]")
    return ";".join([*steps, f"[v{len(over)}]trim=end_frame={film.frames}[video]"])


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # it had ended before
        os._exit(1)
