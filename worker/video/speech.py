"""The voices of one process, each provider started when it is first needed."""

from __future__ import annotations

from worker.video.themes import Voice
from worker.video.voices import Speaking, Speech


class Voices:
    """Speaks with whatever provider a voice names."""

    def __init__(self) -> None:
        self._started: dict[str, Speaking] = {}

    def speak(self, text: str, voice: Voice) -> Speech:
        """`text` in that voice. Raises TransientError or PermanentError."""
        if voice.provider not in self._started:
            self._started[voice.provider] = self._start(voice.provider)
        return self._started[voice.provider].speak(text, voice)

    def _start(self, provider: str) -> Speaking:
        from worker.video.espeak import Espeak

        return Espeak()
