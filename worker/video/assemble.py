"""A dialogue becomes a video file: speak, lay out, draw, mix, encode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from worker.jobs import InvalidJobError, Job
from worker.scratch import scratch_folder, unwritable
from worker.video.encode import Film, Track, encode, save
from worker.video.faces import missing_fonts
from worker.video.pictures import Artist
from worker.video.sound import write_voices
from worker.video.speech import Speech
from worker.video.themes import Theme
from worker.video.timeline import FPS, Cue, caption_cues, frame, place, stage_cues
from worker.video.voices import Voices

Report = Callable[[float, str], None]
"""Called with the share that is done, and what is being done, in words for people."""

_SPOKEN, _DRAWN = 0.15, 0.35


def render(
    job: Job, theme: Theme, path: Path, *, voices: Voices, threads: int, report: Report
) -> float:
    """Write the job's video to `path`; how long it is, in seconds.

    Raises InvalidJobError for characters that no font of this host has, TransientError, also for
    a full disk, or PermanentError.
    """
    _refuse_unwritable(job, theme)
    spoken = _speak(job, theme, voices, report)
    with scratch_folder() as folder:
        try:
            film = lay_out(job, theme, spoken, folder, report)
            seconds = film.frames / FPS
            encode(
                film,
                path,
                folder=folder,
                threads=threads,
                report=lambda done: report(
                    _DRAWN + (1 - _DRAWN) * done, f"encoding, {done:.0%} of {seconds:.0f} s"
                ),
            )
        except OSError as error:
            raise unwritable(error, folder) from error
    return seconds


def lay_out(
    job: Job,
    theme: Theme,
    spoken: Sequence[tuple[str, Speech]],
    folder: Path,
    report: Report,
) -> Film:
    """Draw and mix everything into `folder`."""
    lines, seconds = place(spoken)
    frames = frame(seconds)
    report(_SPOKEN, "mixing the sound")
    sound = folder / "sound.wav"
    write_voices(sound, lines, theme, frames / FPS)
    artist = _artist(job, theme)
    tracks = [
        _stage_track(artist, stage_cues(lines), folder),
        _caption_track(artist, caption_cues(lines, artist.fits), folder, report),
    ]
    background = theme.file(str(theme.background)) if artist.moving else None
    music = (theme.file(theme.music.file), theme.music.volume) if theme.music else None
    return Film(tracks, sound, frames, background, music)


def _artist(job: Job, theme: Theme) -> Artist:
    return Artist(theme, job.title, [turn.text for turn in job.turns])


def _refuse_unwritable(job: Job, theme: Theme) -> None:
    artist = _artist(job, theme)
    texts = {f"turns.{number}.text": turn.text for number, turn in enumerate(job.turns)}
    for field, text in {"title": job.title, **texts}.items():
        lacking = artist.lacking(text)
        if lacking:
            allowed = f"characters that a font of this worker's host has; {missing_fonts(lacking)}"
            raise InvalidJobError(field, "".join(lacking), allowed, job.job_id)


def _speak(job: Job, theme: Theme, voices: Voices, report: Report) -> list[tuple[str, Speech]]:
    spoken = []
    for number, turn in enumerate(job.turns):
        done = _SPOKEN * number / len(job.turns)
        report(done, f"speaking line {number + 1} of {len(job.turns)}")
        voice = theme.speakers[turn.speaker].voice
        spoken.append((turn.speaker, voices.speak(turn.text, voice)))
    return spoken


def _stage_track(artist: Artist, cues: Sequence[Cue[Any]], folder: Path) -> Track:
    backdrop = artist.backdrop()
    files: dict[Any, Path] = {}
    for cue in cues:
        if cue.shown not in files:
            picture = artist.stage(cue.shown, backdrop)
            if not artist.moving:
                picture = picture.convert("RGB")
            files[cue.shown] = save(picture, folder, f"stage{len(files)}")
    return Track([(cue.frame, files[cue.shown]) for cue in cues])


def _caption_track(artist: Artist, cues: Sequence[Cue[Any]], folder: Path, report: Report) -> Track:
    files: dict[Any, Path] = {}
    for number, cue in enumerate(cues):
        if number % 25 == 0:
            done = _SPOKEN + (_DRAWN - _SPOKEN) * number / len(cues)
            report(done, f"drawing caption {number + 1} of {len(cues)}")
        if cue.shown not in files:
            path = folder / f"caption{len(files)}.png"
            artist.caption(cue.shown).save(path, compress_level=1)
            files[cue.shown] = path
    return Track([(cue.frame, files[cue.shown]) for cue in cues], y=artist.caption_box[0])
