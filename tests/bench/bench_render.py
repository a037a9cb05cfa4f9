"""What a second of video costs: plain moviepy, ours, and ffmpeg alone over the same layers.

(a) composes the same pictures with moviepy, frame by frame in Python. (b) is the worker's own
renderer as the process that it is, from interpreter to file. (c) is ffmpeg over layers that lie
ready on disk, in two graphs: ours, and the customary one with an input and an `enable` for every
picture; the cheaper of the two counts. All encode with the same settings.

`make bench-render ARGS="[--job FILE]"`; prints a table and, last, a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
from moviepy import AudioFileClip, CompositeVideoClip, ImageClip
from numpy.typing import NDArray

from worker.jobs import Job
from worker.video.assemble import lay_out
from worker.video.encode import Film, command, encoding
from worker.video.pictures import Artist
from worker.video.speech import Speech
from worker.video.themes import Catalogue, Theme
from worker.video.timeline import FPS, Cue, caption_cues, place, stage_cues
from worker.video.voices import Voices

THREADS = 1
TURNS = [
    ("bolt", "My sensors report a cat in a bubble, and it looks quite pleased with itself."),
    ("nova", "It is a helmet, you toaster. It keeps the air in and the dogs out."),
    ("zia", "On my planet we call that a soup bowl, and we wear it only on holidays."),
    ("nova", "Then happy holidays to all of us, and please pass me the spoon."),
    ("bolt", "Spoon located. It was in my left arm, next to the spare batteries."),
]
Spoken = Sequence[tuple[str, Speech]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, help="another job than the built-in one")
    parser.add_argument("--moviepy", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    job = read_job(arguments.job)
    if arguments.moviepy:
        compose_with_moviepy(job, arguments.moviepy)
        return
    with tempfile.TemporaryDirectory() as name:
        bench(job, arguments.job, Path(name))


def read_job(path: Path | None) -> Job:
    if path is not None:
        return Job.model_validate_json(path.read_bytes())
    turns = [{"speaker": speaker, "text": text} for speaker, text in TURNS]
    return Job.model_validate(
        {"job_id": "bench", "title": "First contact", "character_theme": "orbit", "turns": turns}
    )


def bench(job: Job, job_file: Path | None, folder: Path) -> None:
    theme, spoken = prepared(job)
    film = lay_out(job, theme, spoken, folder, lambda *_: None)
    seconds = film.frames / FPS
    again = ["--job", str(job_file)] if job_file else []
    sys.stdout.write(f"{seconds:.1f} s of video, {THREADS} encoder thread(s)\n")
    cost: dict[str, float] = {}
    peak: dict[str, float] = {}
    runs = {
        "ours": ([sys.executable, "-m", "worker.video.child"], request(job, folder / "ours.mp4")),
        "ffmpeg, our graph": (
            command(film, folder / "graph.mp4", folder=folder, threads=THREADS),
            b"",
        ),
        "ffmpeg, input per picture": (per_picture(film, folder / "inputs.mp4"), b""),
        "moviepy": (
            [sys.executable, __file__, *again, "--moviepy", str(folder / "moviepy.mp4")],
            b"",
        ),
    }
    for label, (arguments, stdin) in runs.items():
        cost[label], peak[label] = measured(arguments, stdin)
    bare = min(cost["ffmpeg, our graph"], cost["ffmpeg, input per picture"])
    for label in runs:
        line = f"{label:<28}{cost[label]:>8.2f} CPU s {cost[label] / seconds:>7.3f} CPU s/s"
        sys.stdout.write(f"{line} {cost[label] / bare:>6.2f} x bare {peak[label]:>6.0f} MB\n")
    pairs = (("ours", "moviepy"), ("ours", "graph"), ("ours", "inputs"), ("moviepy", "inputs"))
    alike = {pair: similarity(*(folder / f"{name}.mp4" for name in pair)) for pair in pairs}
    for (one, other), value in alike.items():
        sys.stdout.write(f"similarity of {one} and {other}: {value:.4f}\n")
    figures = {
        "cpu_ratio_ffmpeg": round(cost["ours"] / bare, 3),
        "speedup_moviepy": round(cost["moviepy"] / cost["ours"], 2),
        "ssim": round(min(alike.values()), 4),
        "peak_mb": round(peak["ours"], 1),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


def prepared(job: Job) -> tuple[Theme, Spoken]:
    catalogue = Catalogue.load()
    catalogue.check(job)
    theme, voices = catalogue.theme(job), Voices("https://unused.invalid", None)
    spoken = [(t.speaker, voices.speak(t.text, theme.speakers[t.speaker].voice)) for t in job.turns]
    return theme, spoken


def request(job: Job, path: Path) -> bytes:
    content = {
        "job": job.model_dump(),
        "path": str(path),
        "threads": THREADS,
        "themes": None,
        "voices": ["https://unused.invalid", None],
    }
    return json.dumps(content).encode()


def measured(arguments: Sequence[str], stdin: bytes) -> tuple[float, float]:
    """CPU seconds of a process with all that it started, and its peak resident megabytes."""
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    if process.stdin:
        process.stdin.write(stdin)
        process.stdin.close()
    peak, over = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.03):
            peak = max(peak, resident(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, status, usage = os.wait4(process.pid, 0)
    over.set()
    watcher.join()
    if status != 0:
        raise SystemExit(f"{arguments[:3]} ended with {status}")
    return usage.ru_utime + usage.ru_stime, peak / 1e6


def resident(pid: int) -> float:
    try:
        process = psutil.Process(pid)
        return float(sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]))
    except psutil.Error:
        return 0.0


def per_picture(film: Film, path: Path) -> list[str]:
    """The customary graph: every picture an input, shown by `enable` while it is its turn."""
    inputs, steps, last, number = [], [], "base", 0
    base, *_ = film.tracks
    inputs += ["-loop", "1", "-framerate", str(FPS), "-i", str(base.pictures[0][1])]
    steps.append(f"[0:v]format=yuv420p[{last}]")
    for track in film.tracks:
        times: dict[Path, list[str]] = {}
        ends = [at for at, _ in track.pictures[1:]] + [film.frames]
        for (at, file), end in zip(track.pictures, ends, strict=True):
            times.setdefault(file, []).append(f"between(n,{at},{end - 1})")
        for file, shown in times.items():
            number += 1
            inputs += ["-i", str(file)]
            now = f"v{number}"
            steps.append(
                f"[{last}][{number}:v]overlay={track.x}:{track.y}:enable='{'+'.join(shown)}'[{now}]"
            )
            last = now
    steps.append(f"[{last}]trim=end_frame={film.frames}[video]")
    return [
        *["ffmpeg", "-nostdin", "-loglevel", "error", "-y", "-filter_complex_threads", "1"],
        *inputs,
        *["-i", str(film.sound), "-filter_complex", ";".join(steps)],
        *["-map", "[video]", "-map", f"{number + 1}:a", *encoding(THREADS), str(path)],
    ]


def compose_with_moviepy(job: Job, path: Path) -> None:
    """The same pictures as clips: background, speakers over it, captions over both."""
    theme, spoken = prepared(job)
    lines, seconds = place(spoken)
    artist = Artist(theme, job.title)
    with tempfile.TemporaryDirectory() as name:
        film = lay_out(job, theme, spoken, Path(name), lambda *_: None)
        seconds = film.frames / FPS
        backdrop = artist.backdrop()
        empty = backdrop.copy()
        empty.putalpha(0)
        clips = [ImageClip(np.array(backdrop.convert("RGB"))).with_duration(seconds)]
        clips += shown(stage_cues(lines), seconds, lambda s: np.array(artist.stage(s, empty)), 0)
        captions = caption_cues(lines, artist.fits)
        top = artist.caption_box[0]
        clips += shown(captions, seconds, lambda p: np.array(artist.caption(p)), top)
        video = CompositeVideoClip(clips).with_audio(AudioFileClip(str(film.sound)))
        video.write_videofile(
            str(path),
            fps=FPS,
            codec="libx264",
            preset="veryfast",
            threads=THREADS,
            audio_codec="aac",
            ffmpeg_params=["-crf", "23", "-pix_fmt", "yuv420p"],
            logger=None,
        )


Shown = TypeVar("Shown")


def shown(
    cues: Sequence[Cue[Shown]],
    seconds: float,
    draw: Callable[[Shown], NDArray[np.uint8]],
    top: int,
) -> list[ImageClip]:
    """A clip for every cue; pictures that come again are drawn once."""
    drawn: dict[Shown, NDArray[np.uint8]] = {}
    ends = [cue.frame / FPS for cue in cues[1:]] + [seconds]
    clips = []
    for cue, end in zip(cues, ends, strict=True):
        if cue.shown is None:
            continue
        if cue.shown not in drawn:
            drawn[cue.shown] = draw(cue.shown)
        clip = ImageClip(drawn[cue.shown]).with_start(cue.frame / FPS)
        clips.append(clip.with_duration(end - cue.frame / FPS).with_position((0, top)))
    return clips


def similarity(one: Path, other: Path) -> float:
    """Mean structural similarity of two frames a second."""
    graph = "[0:v]fps=2,setpts=N[x];[1:v]fps=2,setpts=N[y];[x][y]ssim"
    arguments = ["ffmpeg", "-nostdin", "-i", str(one), "-i", str(other), "-lavfi", graph]
    done = subprocess.run(
        [*arguments, "-an", "-f", "null", "-"], capture_output=True, text=True, check=True
    )
    found = re.search(r"SSIM .*All:([0-9.]+)", done.stderr)
    if found is None:
        raise SystemExit(f"no similarity in: {done.stderr[-300:]}")
    return float(found.group(1))


if __name__ == "__main__":
    main()
