"""The voices in their places, as one sound file."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from moviepy import AudioClip, CompositeAudioClip
from moviepy.audio.fx import MultiplyVolume

from worker.video.speech import Speech
from worker.video.themes import Theme
from worker.video.timeline import SpokenLine

RATE = 44_100


def write_voices(path: Path, lines: Sequence[SpokenLine], theme: Theme, seconds: float) -> None:
    """Write all that is spoken to `path`, a WAV file, `seconds` long."""
    clips = []
    for line in lines:
        volume = MultiplyVolume(theme.speakers[line.speaker].volume)
        clips.append(_clip(line.speech).with_effects([volume]).with_start(line.start))
    track = CompositeAudioClip(clips).with_duration(seconds)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for chunk in track.iter_chunks(chunksize=RATE, fps=RATE):
            file.writeframes((np.clip(chunk, -1, 1) * 32_767).astype("<i2").tobytes())


def _clip(speech: Speech) -> Any:
    """The line as a clip at any rate, by straight lines between its samples."""
    samples, last = speech.samples, len(speech.samples) - 1

    def at(t: Any) -> Any:
        position = np.asarray(t, dtype=np.float64) * speech.rate
        left = np.clip(position.astype(np.int64), 0, last)
        share = np.clip(position - left, 0, 1)
        value = samples[left] * (1 - share) + samples[np.minimum(left + 1, last)] * share
        return np.stack([value, value], axis=-1)

    return AudioClip(at, duration=speech.seconds, fps=RATE)
