"""ElevenLabs' voices over HTTP, with the time of every character.

Written to the service's public reference of "create speech with timing".
"""

from __future__ import annotations

import base64
import binascii
import json
import random
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import numpy as np

from common.errors import cut, printable
from common.http_client import HttpClient, OutgoingError
from common.outgoing import NO_SETTINGS, ClientPolicy
from worker.errors import PermanentError, TransientError
from worker.video.speech import Samples, Speech, timed
from worker.video.themes import Voice

_RATE = 22_050
_TIMEOUT_S = 60.0
_ATTEMPTS = 4
_LONGEST_PAUSE_S = 30.0
_TOO_MANY = 429


class ElevenLabs:
    """Speaks by the service at `url`."""

    def __init__(
        self,
        url: str,
        key: str | None,
        sleep: Callable[[float], None] = time.sleep,
        policy: ClientPolicy = NO_SETTINGS,
    ) -> None:
        """Raises PermanentError without a key."""
        if not key:
            raise PermanentError("this theme speaks by ElevenLabs: set ELEVENLABS_API_KEY_FILE")
        self._key = key
        self._sleep = sleep
        self._client = HttpClient("ElevenLabs", url, policy, timeout_s=_TIMEOUT_S)

    def speak(self, text: str, voice: Voice) -> Speech:
        """`text` in that voice.

        Raises PermanentError when the service refuses (4xx), TransientError when it does not
        answer or is overloaded, after several attempts.
        """
        answer = self._ask(voice.name, text)
        try:
            raw = base64.b64decode(answer["audio_base64"], validate=True)
            alignment = answer["alignment"] or {}
            starts = dict(enumerate(map(float, alignment["character_start_times_seconds"])))
            pcm = np.frombuffer(raw, dtype="<i2")
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise TransientError(f"ElevenLabs' answer cannot be read: {error!r}") from error
        samples: Samples = pcm.astype(np.float32) / np.float32(32_768)
        return Speech(samples, _RATE, timed(text, starts, len(samples) / _RATE))

    def _ask(self, voice: str, text: str) -> Any:
        where = f"/v1/text-to-speech/{quote(voice, safe='')}/with-timestamps"
        problem, pause = "", 1.0
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._sleep(pause * random.uniform(0.7, 1.0))
            pause = min(_LONGEST_PAUSE_S, pause * 3)
            try:
                answer = self._client.request(
                    "POST",
                    f"{where}?output_format=pcm_{_RATE}",
                    body=json.dumps({"text": text}).encode(),
                    headers={"xi-api-key": self._key, "Content-Type": "application/json"},
                )
                if answer.status == 200:
                    return answer.json()
            except OutgoingError as error:
                problem = str(error)
                continue
            except ValueError:
                problem = "HTTP 200 with what is no answer of it"
                continue
            said = printable(cut(answer.body.decode("utf-8", "replace"), 200))
            problem = f"status {answer.status}: {said}"
            if answer.status < 500 and answer.status != _TOO_MANY:
                raise PermanentError(f"ElevenLabs refuses: {problem}")
            pause = _wanted_pause(answer.headers.get("Retry-After"), pause)
        raise TransientError(f"ElevenLabs does not answer: {problem}")


def _wanted_pause(header: str | None, otherwise: float) -> float:
    if header is not None and header.isdigit():
        return min(_LONGEST_PAUSE_S, float(header))
    return otherwise
