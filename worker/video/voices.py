"""The voices of one process, each provider started when it is first needed."""

from __future__ import annotations

from collections.abc import Callable

from common.outgoing import ClientPolicy, RouteSettings
from worker.video.elevenlabs import ElevenLabs
from worker.video.espeak import Espeak
from worker.video.speech import Speaking, Speech
from worker.video.themes import Voice


class Voices:
    """Speaks with whatever provider a voice names."""

    def __init__(self, elevenlabs_url: str, elevenlabs_key: str | None) -> None:
        self._starters: dict[str, Callable[[], Speaking]] = {
            "espeak-ng": Espeak,
            "elevenlabs": lambda: ElevenLabs(
                elevenlabs_url,
                elevenlabs_key,
                policy=ClientPolicy("ELEVENLABS", model=RouteSettings),
            ),
        }
        self._started: dict[str, Speaking] = {}

    def speak(self, text: str, voice: Voice) -> Speech:
        """`text` in that voice. Raises TransientError or PermanentError."""
        if voice.provider not in self._started:
            self._started[voice.provider] = self._starters[voice.provider]()
        return self._started[voice.provider].speak(text, voice)
