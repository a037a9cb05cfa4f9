"""ElevenLabs' voices over HTTP, with the time of every character.

Written to the service's public reference of "create speech with timing".
"""

from __future__ import annotations

import base64
import binascii
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import requests

from worker.errors import PermanentError, TransientError
from worker.video.speech import Samples, Speech, timed
from worker.video.themes import Voice

_RATE = 22_050
_TIMEOUT_S = (5, 60)
_ATTEMPTS = 4
_LONGEST_PAUSE_S = 30.0
_TOO_MANY = 429


class ElevenLabs:
    """Speaks by the service at `url`."""

    def __init__(
        self, url: str, key: str | None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Raises PermanentError without a key."""
        if not key:
            raise PermanentError("this theme speaks by ElevenLabs: set ELEVENLABS_API_KEY_FILE")
        self._url = url.rstrip("/")
        self._sleep = sleep
        self._session = requests.Session()
        self._session.headers["xi-api-key"] = key

    def speak(self, text: str, voice: Voice) -> Speech:
        """`text` in that voice.

        Raises PermanentError when the service refuses (4xx), TransientError when it does not
        answer or is overloaded, after several attempts.
        """
        answer = self._ask(f"{self._url}/v1/text-to-speech/{voice.name}/with-timestamps", text)
        try:
            raw = base64.b64decode(answer["audio_base64"], validate=True)
            alignment = answer["alignment"] or {}
            starts = dict(enumerate(map(float, alignment["character_start_times_seconds"])))
            pcm = np.frombuffer(raw, dtype="<i2")
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise TransientError(f"ElevenLabs' answer cannot be read: {error!r}") from error
        samples: Samples = pcm.astype(np.float32) / np.float32(32_768)
        return Speech(samples, _RATE, timed(text, starts, len(samples) / _RATE))

    def _ask(self, url: str, text: str) -> Any:
        problem, pause = "", 1.0
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._sleep(pause * random.uniform(0.7, 1.0))
            pause = min(_LONGEST_PAUSE_S, pause * 3)
            try:
                answer = self._session.post(
                    url,
                    params={"output_format": f"pcm_{_RATE}"},
                    json={"text": text},
                    timeout=_TIMEOUT_S,
                )
                if answer.ok:
                    return answer.json()
            except (requests.RequestException, ValueError) as error:
                problem = type(error).__name__
                continue
            problem = f"status {answer.status_code}: {answer.text[:200]!r}"
            if answer.status_code < 500 and answer.status_code != _TOO_MANY:
                raise PermanentError(f"ElevenLabs refuses: {problem}")
            pause = _wanted_pause(answer.headers.get("Retry-After"), pause)
        raise TransientError(f"ElevenLabs does not answer: {problem}")


def _wanted_pause(header: str | None, otherwise: float) -> float:
    if header is not None and header.isdigit():
        return min(_LONGEST_PAUSE_S, float(header))
    return otherwise
