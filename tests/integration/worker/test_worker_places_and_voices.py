"""The real renderer; results in a bucket; voices that are a service."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from moto.server import ThreadedMotoServer

from tests.support.waiting import until
from tests.support.worker_fleet import Fleet
from worker.errors import PermanentError, TransientError
from worker.video.elevenlabs import ElevenLabs
from worker.video.themes import Voice

pytestmark = pytest.mark.integration


def probe(path: Path) -> dict[str, Any]:
    entries = "stream=codec_name,width,height,r_frame_rate,pix_fmt,duration"
    command = ["ffprobe", "-v", "error", "-show_entries", entries, "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, check=True)
    return {stream["codec_name"]: stream for stream in json.loads(done.stdout)["streams"]}


def dialogue(theme: str, *speakers: str) -> bytes:
    turns = [{"speaker": s, "text": "Good morning, my dear friend!"} for s in speakers]
    job = {"job_id": f"real-{theme}", "title": "Hi", "character_theme": theme, "turns": turns}
    return json.dumps(job).encode()


def assert_is_a_video(path: Path) -> None:
    streams = probe(path)
    video, sound = streams["h264"], streams["aac"]
    assert (video["width"], video["height"], video["r_frame_rate"]) == (1080, 1920, "30/1")
    assert video["pix_fmt"] == "yuv420p"
    assert abs(float(video["duration"]) - float(sound["duration"])) < 0.1
    raw = path.read_bytes()
    assert raw.index(b"moov") < raw.index(b"mdat")  # faststart


def test_a_dialogue_becomes_a_video_of_the_promised_kind(fleet: Fleet) -> None:
    fleet.start(real=True)
    fleet.ready()
    fleet.publish(dialogue("orbit", "bolt", "zia"))
    until(lambda: fleet.status("real-orbit") == "done")
    assert_is_a_video(fleet.output / "real-orbit.mp4")


def test_a_theme_of_ones_own_with_a_video_behind_and_music(fleet: Fleet, tmp_path: Path) -> None:
    folder = tmp_path / "themes" / "mine"
    folder.mkdir(parents=True)
    words = "ffmpeg -v error -f lavfi -i testsrc2=s=320x240:d=1:r=10"
    subprocess.run([*words.split(), str(folder / "back.mp4")], check=True)
    words = "ffmpeg -v error -f lavfi -i sine=d=1"
    subprocess.run([*words.split(), str(folder / "tune.wav")], check=True)
    shipped = Path("worker/themes/meadow/ruby.png")
    (folder / "me.png").write_bytes(shipped.read_bytes())
    theme = {
        "title": "Mine",
        "background": "back.mp4",
        "music": {"file": "tune.wav", "volume": 0.2},
        "speakers": {"me": {"sprite": "me.png"}},
    }
    (folder / "theme.yaml").write_text(yaml.safe_dump(theme))
    fleet.start(real=True, THEMES=str(tmp_path / "themes"))
    fleet.ready()
    fleet.publish(dialogue("mine", "me"))
    until(lambda: fleet.status("real-mine") == "done")
    assert_is_a_video(fleet.output / "real-mine.mp4")


@pytest.fixture
def bucket() -> Iterator[dict[str, str]]:
    import s3fs

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    files(settings).mkdir("videos")
    yield settings
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def files(settings: dict[str, str]) -> Any:
    import s3fs

    return s3fs.S3FileSystem(
        endpoint_url=settings["AWS_ENDPOINT_URL"],
        key="test",
        secret="test",
        use_listings_cache=False,
    )


def test_results_go_to_a_bucket_and_are_found_there(fleet: Fleet, bucket: dict[str, str]) -> None:
    fleet.settings = bucket | {"OUTPUT": "s3://videos/made"}
    fleet.start()
    fleet.ready()
    job = fleet.submit("fast")
    until(lambda: fleet.status(job) == "done")
    ((_, raw),) = fleet.take(fleet.result_queue)
    assert json.loads(raw)["storage_path"] == f"s3://videos/made/{job}.mp4"
    stored = files(bucket).cat_file(f"videos/made/{job}.mp4")
    assert stored == fleet.video.read_bytes()
    # A whole object is announced again; a torn one is made anew.
    files(bucket).pipe_file("videos/made/torn.mp4", stored[:-300])
    fleet.submit("fast", job)
    fleet.submit("fast", "torn")
    until(lambda: fleet.status("torn") == "done")
    assert fleet.announced() == [job, "torn"]
    assert (fleet.renders(job), fleet.renders("torn")) == (1, 1)
    assert files(bucket).cat_file("videos/made/torn.mp4") == stored


class Service:
    """ElevenLabs' surface as far as we use it, on loopback."""

    def __init__(self, answers: list[int]) -> None:
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                asked = json.loads(content)
                service.asked.append((self.path, self.headers["xi-api-key"], asked))
                code = answers.pop(0) if answers else 200
                body = service.speech(asked["text"]) if code == 200 else b'{"detail": "no"}'
                self.send_response(code)
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def speech(text: str) -> bytes:
        pcm = (np.sin(np.arange(22_050) / 20) * 8_000).astype("<i2").tobytes()
        starts = [round(i / len(text), 3) for i in range(len(text))]
        alignment = {"characters": list(text), "character_start_times_seconds": starts}
        return json.dumps(
            {"audio_base64": base64.b64encode(pcm).decode(), "alignment": alignment}
        ).encode()


@pytest.fixture
def service() -> Iterator[type[Service]]:
    started: list[Service] = []

    class Tracked(Service):
        def __init__(self, answers: list[int]) -> None:
            super().__init__(answers)
            started.append(self)

    yield Tracked
    for one in started:
        one.server.shutdown()
        one.server.server_close()


VOICE = Voice(provider="elevenlabs", name="voice-1")


def test_a_service_speaks_with_word_timings(service: type[Service]) -> None:
    one = service([503, 429])
    speech = ElevenLabs(one.url, "the key", sleep=lambda _: None).speak("Hello my friend", VOICE)
    assert speech.seconds == pytest.approx(1.0)
    assert [(w.text, round(w.start, 1)) for w in speech.words] == [
        ("Hello", 0.0),
        ("my", 0.4),
        ("friend", 0.6),
    ]
    path, key, asked = one.asked[-1]
    assert path == "/v1/text-to-speech/voice-1/with-timestamps?output_format=pcm_22050"
    assert key == "the key"
    assert asked == {"text": "Hello my friend"}
    assert len(one.asked) == 3


@pytest.mark.parametrize(("codes", "error"), [([401], PermanentError), ([500] * 9, TransientError)])
def test_refusals_are_permanent_and_failures_are_not(
    service: type[Service], codes: list[int], error: type[Exception]
) -> None:
    one = service(codes)
    with pytest.raises(error, match="ElevenLabs"):
        ElevenLabs(one.url, "the key", sleep=lambda _: None).speak("Hello", VOICE)


def test_without_a_key_the_error_says_what_to_set() -> None:
    with pytest.raises(PermanentError, match="ELEVENLABS_API_KEY_FILE"):
        ElevenLabs("http://127.0.0.1:1", None)
