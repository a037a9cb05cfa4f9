"""What traces can be generated, and by which numbers: light, for the commands' options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from common.errors import ConfigError


class Generator(StrEnum):
    """Which trace to generate."""

    POISSON = "poisson"
    BURSTY = "bursty"
    DIURNAL = "diurnal"
    BATCH = "batch"
    SERIES = "series"
    THIN = "thin"
    RAMP = "ramp"


@dataclass(frozen=True, slots=True)
class LoadNumber:
    """A number that generated loads are made by; the option of `simulate` for it."""

    meaning: str
    least: float
    most: float
    defaults: Mapping[Generator, float]
    """By the generators that have it."""

    @property
    def help(self) -> str:
        """Its meaning, whose it is, and what it is unless given."""
        named: dict[float, list[str]] = {}
        for generator, value in self.defaults.items():
            named.setdefault(value, []).append(generator.value)
        default, *others = sorted(named, key=lambda value: -len(named[value]))
        if len(self.defaults) < len(Generator) / 2:
            parts = [f"{', '.join(names)}: {value:.3g}" for value, names in named.items()]
        else:
            parts = [f"{default:g}"]
            parts += [f"{', '.join(named[value])}: {value:.3g}" for value in others]
        return f"{self.meaning} [{'; '.join(parts)}]"


_STEADY = (Generator.POISSON, Generator.BURSTY, Generator.DIURNAL, Generator.BATCH)

NUMBERS: Mapping[str, LoadNumber] = {
    "rate": LoadNumber(
        "Generated jobs a minute, in the mean.", 1e-6, 100_000,
        {**dict.fromkeys(_STEADY, 2.0), Generator.THIN: 1 / 13},
    ),
    "hours": LoadNumber(
        "Length of the generated trace.", 0.01, 100_000,
        {**dict.fromkeys(Generator, 24.0), Generator.SERIES: 12.0, Generator.RAMP: 12.0},
    ),
    "mean": LoadNumber(
        "Mean seconds of a generated job.", 0.1, 2_592_000,
        {**dict.fromkeys(Generator, 120.0), Generator.SERIES: 45.0, Generator.THIN: 155.0},
    ),
    "burst": LoadNumber("Jobs of a burst, in the mean.", 1, 100_000, {Generator.SERIES: 6.0}),
    "within": LoadNumber(
        "Seconds in which the jobs of a burst arrive.", 0, 3600, {Generator.SERIES: 30.0}
    ),
    "gap": LoadNumber(
        "Seconds from the end of a burst to the begin of the next, in the mean.", 1, 86_400,
        {Generator.SERIES: 120.0},
    ),
    "peak": LoadNumber("Jobs a minute at the top of a wave.", 1e-6, 100_000, {Generator.RAMP: 4.0}),
    "trough": LoadNumber("Jobs a minute between two waves.", 0, 100_000, {Generator.RAMP: 0.4}),
    "wave": LoadNumber("Hours from trough to trough.", 0.01, 1000, {Generator.RAMP: 3.0}),
}  # fmt: skip
"""By the name of the option."""


def numbers_of(generator: Generator, given: Mapping[str, float]) -> dict[str, float]:
    """All numbers of that generator, the default where one is not given.

    Raises ConfigError naming one that it does not have or that is out of bounds.
    """
    for name, value in given.items():
        number = NUMBERS[name]
        if generator not in number.defaults:
            having = ", ".join(number.defaults)
            raise ConfigError(f"--{name}", value, f"only with --generate {having}")
        if not number.least <= value <= number.most:
            raise ConfigError(f"--{name}", value, f"{number.least} to {number.most}")
    return {
        name: given.get(name, number.defaults[generator])
        for name, number in NUMBERS.items()
        if generator in number.defaults
    }
