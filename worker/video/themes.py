"""Themes are data: a folder with `theme.yaml` and its pictures. Loading one draws nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from common.errors import ConfigError, first_problem
from common.settings import read_yaml
from worker.jobs import InvalidJobError, Job, Name

SHIPPED = Path(__file__).parent.parent / "themes"
WIDTH, HEIGHT = 1080, 1920

Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
Ratio = Annotated[float, Field(ge=0, le=1)]


class _ThemePart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Voice(_ThemePart):
    """Who speaks. `name` is the provider's own name for the voice."""

    provider: Literal["espeak-ng", "elevenlabs"] = "espeak-ng"
    name: Annotated[str, Field(min_length=1, max_length=100)] = "en-us"
    speed: Annotated[int, Field(ge=80, le=400)] = 165
    """Words a minute (espeak-ng)."""
    pitch: Annotated[int, Field(ge=0, le=99)] = 50
    """espeak-ng's own scale."""


class Speaker(_ThemePart):
    """One character: pictures with transparency, a voice and a place on the stage."""

    sprite: str
    speaking: str | None = None
    """The picture for an open mouth; without it only light and size show who speaks."""
    voice: Voice = Voice()
    volume: Annotated[float, Field(ge=0, le=2)] = 1.0
    x: Ratio = 0.5
    """Where the sprite's middle stands, as a share of the width."""
    height: Annotated[int, Field(ge=50, le=1200)] = 620
    """Of the sprite, in pixels."""


class Captions(_ThemePart):
    """How spoken words are written."""

    font: str | None = None
    """A TrueType file in the theme's folder; default DejaVu Sans Bold."""
    size: Annotated[int, Field(ge=20, le=160)] = 68
    colour: Colour = "#ffffff"
    highlight: Colour = "#ffd54a"
    outline: Colour = "#1b1b28"
    y: Ratio = 0.70
    """Where the captions' middle is, as a share of the height."""


class Music(_ThemePart):
    """A file that is played from the start and over again, under the voices."""

    file: str
    volume: Ratio = 0.15


class Theme(_ThemePart):
    """What `theme.yaml` says."""

    title: str
    background: str | None = None
    """A picture of 1080x1920, or a video that is played over again; default a plain colour."""
    background_colour: Colour = "#26264a"
    floor: Ratio = 0.62
    """The height on which the speakers stand, as a share of the picture's."""
    speakers: Annotated[dict[Name, Speaker], Field(min_length=1, max_length=20)]
    captions: Captions = Captions()
    music: Music | None = None
    _folder: Path = PrivateAttr(default=Path())

    def file(self, name: str) -> Path:
        """A file of this theme."""
        return self._folder / name

    @classmethod
    def load(cls, folder: Path) -> Theme:
        """The theme in `folder`. Raises ConfigError naming file, field, value, what is allowed."""
        path = folder / "theme.yaml"
        try:
            theme = cls.model_validate(read_yaml(path))
        except ValidationError as error:
            field, value, allowed = first_problem(error)
            raise ConfigError(f"{path}: {field}", value, allowed) from None
        theme._folder = folder
        for field, name in theme._files():
            if not (folder / name).is_file() or Path(name).name != name:
                raise ConfigError(f"{path}: {field}", name, "a file in the theme's own folder")
        return theme

    def _files(self) -> list[tuple[str, str]]:
        named: list[tuple[str, str | None]] = [
            ("background", self.background),
            ("captions.font", self.captions.font),
            ("music.file", self.music.file if self.music else None),
        ]
        for name, speaker in self.speakers.items():
            named.append((f"speakers.{name}.sprite", speaker.sprite))
            named.append((f"speakers.{name}.speaking", speaker.speaking))
        return [(field, name) for field, name in named if name is not None]


class Catalogue:
    """Every theme that can be rendered here, by name."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self._folders = folders
        self._loaded = {name: Theme.load(folder) for name, folder in folders.items()}

    @classmethod
    def load(cls, own: Path | None = None) -> Catalogue:
        """The shipped themes, and over them those in the folder `own`. Raises ConfigError."""
        if own is not None and not own.is_dir():
            raise ConfigError("THEMES", str(own), "a folder of theme folders")
        folders: dict[str, Path] = {}
        for place in (SHIPPED, own):
            if place is not None:
                folders |= {path.parent.name: path.parent for path in place.glob("*/theme.yaml")}
        return cls(folders)

    def check(self, job: Job) -> None:
        """Raises InvalidJobError when the job's theme or one of its speakers is unknown."""
        theme = self._loaded.get(job.character_theme)
        if theme is None:
            self._refuse(job, "character_theme", job.character_theme, self._loaded)
        else:
            for number, turn in enumerate(job.turns):
                if turn.speaker not in theme.speakers:
                    self._refuse(job, f"turns.{number}.speaker", turn.speaker, theme.speakers)

    def theme(self, job: Job) -> Theme:
        """The theme of a job that has been checked."""
        return self._loaded[job.character_theme]

    @staticmethod
    def _refuse(
        job: Job, field: str, value: str, known: dict[str, Theme] | dict[str, Speaker]
    ) -> None:
        raise InvalidJobError(field, value, f"one of {', '.join(sorted(known))}", job.job_id)
