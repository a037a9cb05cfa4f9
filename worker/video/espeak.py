"""espeak-ng as a library: no process per line, and the exact time of every word.

Written to `speak_lib.h` of espeak-ng 1.51 (EVENT_WORD carries the word's place in the text and
its place in the sound).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import re
from typing import Any

import numpy as np

from worker.errors import PermanentError, TransientError
from worker.video.speech import Samples, Speech, timed
from worker.video.themes import Voice

# The first of them would end the text, and none is spoken.
_CONTROLS = re.compile("[\\x00-\\x1f\\x7f-\\x9f]")
_SYNCHRONOUS = 2
_CHARACTERS = 1
_UTF8 = 1
_EVENT_END, _EVENT_WORD = 0, 1
_RATE, _PITCH = 1, 3


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Espeak:
    """The espeak-ng voices. One per process: the library keeps its state globally."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
        try:
            self._library: Any = ctypes.CDLL(name)
        except OSError as error:
            raise TransientError("espeak-ng is not installed on this host") from error
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, 0)
        if self._rate <= 0:
            raise TransientError("espeak-ng cannot start on this host: its data are missing")
        self._sound: list[bytes] = []
        self._starts: dict[int, float] = {}
        self._callback = _Callback(self._collect)  # must live as long as the library may call it
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: Voice) -> Speech:
        """`text` in that voice. Raises PermanentError when espeak-ng does not know the voice."""
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise PermanentError(f"espeak-ng has no voice {voice.name!r}")
        self._library.espeak_SetParameter(_RATE, voice.speed, 0)
        self._library.espeak_SetParameter(_PITCH, voice.pitch, 0)
        self._sound, self._starts = [], {}
        raw = _CONTROLS.sub(" ", text).encode()
        status = self._library.espeak_Synth(raw, len(raw) + 1, 0, _CHARACTERS, 0, _UTF8, None, None)
        if status != 0:
            raise TransientError(f"espeak-ng failed with status {status}")
        raw_samples = np.frombuffer(b"".join(self._sound), dtype=np.int16)
        samples: Samples = raw_samples.astype(np.float32) / np.float32(32_768)
        if not len(samples):  # a line of nothing that can be spoken is a pause
            samples = np.zeros(self._rate // 2, dtype=np.float32)
        words = timed(text, self._starts, len(samples) / self._rate)
        return Speech(samples, self._rate, words)

    def _collect(self, sound: Any, count: int, events: Any) -> int:
        if sound and count > 0:
            self._sound.append(ctypes.string_at(sound, count * 2))
        index = 0
        while events[index].type != _EVENT_END:
            if events[index].type == _EVENT_WORD:
                # Positions count from 1.
                self._starts[events[index].text_position - 1] = events[index].audio_position / 1000
            index += 1
        return 0
