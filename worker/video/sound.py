"""The sound track: voices in their places, and music under them."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from moviepy import AudioArrayClip, AudioClip, AudioFileClip, CompositeAudioClip
from moviepy.audio.fx import AudioLoop, MultiplyVolume

from worker.video.themes import Theme
from worker.video.timeline import Line
from worker.video.voices import Samples

RATE = 44_100


def write_sound(path: Path, lines: Sequence[Line], theme: Theme, seconds: float) -> None:
    """Write the sound of the whole video to `path`, a WAV file, `seconds` long."""
    clips: list[AudioClip] = []
    for line in lines:
        samples = resampled(line.speech.samples, line.speech.rate)
        clip = AudioArrayClip(np.column_stack([samples, samples]), fps=RATE)
        volume = theme.speakers[line.speaker].volume
        clips.append(clip.with_effects([MultiplyVolume(volume)]).with_start(line.start))
    if theme.music is not None:
        music = AudioFileClip(str(theme.file(theme.music.file)), fps=RATE)
        effects = [AudioLoop(duration=seconds), MultiplyVolume(theme.music.volume)]
        clips.append(music.with_effects(effects))
    track = CompositeAudioClip(clips).with_duration(seconds)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for chunk in track.iter_chunks(chunksize=RATE * 4, fps=RATE):
            file.writeframes((np.clip(chunk, -1, 1) * 32_767).astype("<i2").tobytes())


def resampled(samples: Samples, rate: int) -> Samples:
    """The same sound at RATE samples a second, by straight lines between samples."""
    if rate == RATE:
        return samples
    count = round(len(samples) * RATE / rate)
    at = np.arange(count) * (rate / RATE)
    result: Samples = np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
    return result
