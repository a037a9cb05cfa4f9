"""simulate and tune: what a policy would have cost, and which settings to take."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.errors import ConfigError, InvalidInputError
from common.urls import SERVICE, require, without_credentials
from scaler.commands.moments import seconds
from scaler.policy.target import KNOBS, Knobs

if TYPE_CHECKING:
    from scaler.simulate.arena import Policy
    from scaler.simulate.delayed_view import ViewSettings
    from scaler.simulate.trace import Trace

# The heavy libraries are imported by the commands that need them: the scaler starts without.


class Kind(StrEnum):
    """Which policies to replay."""

    ALL = "all"
    OURS = "ours"
    PLAN = "plan"
    KEDA = "keda"
    FIXED = "fixed"


class Generator(StrEnum):
    """Which trace to generate."""

    POISSON = "poisson"
    BURSTY = "bursty"
    DIURNAL = "diurnal"
    BATCH = "batch"


TraceOption = Annotated[
    Path | None,
    typer.Option("--trace", metavar="FILE", help="CSV or gzip: arrival_s,duration_s, sorted."),
]
GenerateOption = Annotated[Generator | None, typer.Option(help="Generate a trace instead.")]
RateOption = Annotated[float, typer.Option(min=1e-6, help="Generated jobs a minute.")]
HoursOption = Annotated[float, typer.Option(min=0.01, help="Length of the generated trace.")]
MeanOption = Annotated[float, typer.Option(min=0.1, help="Mean seconds of a generated job.")]
PrometheusOption = Annotated[
    str | None, typer.Option(metavar="URL", help="Replay what this Prometheus remembers.")
]
SinceOption = Annotated[str, typer.Option(help="How far back, e.g. 12h or 7d.")]
QueueOption = Annotated[str, typer.Option(help="Whose jobs.")]
StartupOption = Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds a worker takes.")]
SpreadOption = Annotated[float, typer.Option(min=0, max=3, help="Its coefficient of variation.")]
FailureOption = Annotated[float, typer.Option(min=0, max=0.9, help="Share of starts that fail.")]
LossOption = Annotated[float, typer.Option(min=0, max=10, help="Workers lost, each and hour.")]
MinOption = Annotated[int, typer.Option("--min", min=0, help="Fewest workers.")]
MaxOption = Annotated[int, typer.Option("--max", min=1, max=10_000, help="Most workers.")]
SeedOption = Annotated[int, typer.Option(help="Of everything left to chance.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the trace comes from."""

    trace: Path | None
    generate: Generator | None
    prometheus: str | None
    since: str
    queue: str
    rate: float
    hours: float
    mean: float
    seed: int


def _knob_options() -> Iterator[inspect.Parameter]:
    """An option for each knob that is simulated, with its meaning and limits."""
    for name, field in Knobs.model_fields.items():
        if KNOBS[name].simulated is None:
            continue
        low, high = (
            next((getattr(each, key) for each in field.metadata if hasattr(each, key)), None)
            for key in ("ge", "le")
        )
        option = typer.Option(min=low, max=high, help=f"Of our policy: {field.description}")
        yield inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[field.annotation, option],
        )


def _with_knobs(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with those options in place of its `**knobs`."""
    own = inspect.signature(command, eval_str=True)
    parameters = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
    made = own.replace(parameters=[*parameters, *_knob_options()])
    command.__signature__ = made  # type: ignore[attr-defined] # typer reads it
    return command


@_with_knobs
def simulate(
    *,
    trace: TraceOption = None,
    generate: GenerateOption = None,
    prometheus: PrometheusOption = None,
    since: SinceOption = "7d",
    queue: QueueOption = "video-queue",
    rate: RateOption = 2.0,
    hours: HoursOption = 24.0,
    mean: MeanOption = 120.0,
    policy: Annotated[Kind, typer.Option(help="Which policy, or all side by side.")] = Kind.ALL,
    startup: StartupOption = 10.0,
    startup_spread: SpreadOption = 0.0,
    start_failure: FailureOption = 0.0,
    loss_per_hour: LossOption = 0.0,
    minimum: MinOption = 1,
    maximum: MaxOption = 10,
    keda_value: Annotated[float, typer.Option(min=0.01, help="Jobs per replica.")] = 1.0,
    keda_window: Annotated[float, typer.Option(min=0, help="Its scale-down window.")] = 300.0,
    grace: Annotated[float, typer.Option(min=0, help="Seconds to finish, under policy plan.")] = 10,
    size: Annotated[int | None, typer.Option(min=1, help="Of the fixed fleet.")] = None,
    tick: Annotated[float, typer.Option(min=0.2, max=300, help="Seconds between looks.")] = 5.0,
    data_age: Annotated[float, typer.Option(min=0, max=600, help="Age of the data.")] = 0.0,
    missing: Annotated[float, typer.Option(min=0, max=0.95, help="Share of looks in vain.")] = 0.0,
    outage: Annotated[
        str | None, typer.Option(metavar="BEGIN:LENGTH", help="Seconds without Prometheus.")
    ] = None,
    seed: SeedOption = 0,
    every_setting: Annotated[
        bool, typer.Option("--sweep", help="Each policy over all its knobs, at its best.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write timeline.png and frontier.png.")
    ] = None,
    as_json: JsonOption = False,
    **knobs: Any,
) -> None:
    """Replay jobs through a policy and say what it costs and how long jobs wait."""
    from scaler.simulate import peers  # noqa: PLC0415
    from scaler.simulate.arena import arena as arena_of  # noqa: PLC0415
    from scaler.simulate.compare import Output, compare  # noqa: PLC0415
    from scaler.simulate.world import WorldSettings  # noqa: PLC0415

    with _refusals():
        source = _Source(trace, generate, prometheus, since, queue, rate, hours, mean, seed)
        _check_bounds(minimum, maximum)
        world = WorldSettings(startup, startup_spread, start_failure, loss_per_hour)
        arena = arena_of(_trace(source), minimum, maximum, world)
        chosen: dict[str, Callable[[], Policy]] = {
            "ours": lambda: peers.ours(arena, tick_s=tick, **knobs),
            "keda": lambda: peers.keda(arena, keda_value, keda_window),
            "plan": lambda: peers.plan(arena, grace_s=grace),
            "fixed": lambda: peers.fixed(size or maximum),
        }
        kinds = list(chosen) if policy is Kind.ALL else [policy.value]
        compare(
            arena,
            {kind: chosen[kind]() for kind in kinds},
            Output(as_json, plot, every_setting),
            view=_view(tick, data_age, missing, outage),
            seed=seed,
        )


def tune(
    *,
    wish: Annotated[str, typer.Option(help="e.g. 'p95 <= 30' or 'hours/day <= 5'.")],
    trace: TraceOption = None,
    generate: GenerateOption = None,
    prometheus: PrometheusOption = None,
    since: SinceOption = "7d",
    queue: QueueOption = "video-queue",
    rate: RateOption = 2.0,
    hours: HoursOption = 24.0,
    mean: MeanOption = 120.0,
    startup: StartupOption = 10.0,
    minimum: MinOption = 1,
    maximum: MaxOption = 10,
    seed: SeedOption = 0,
    plot: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write frontier.png.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Propose settings that fulfil a wish, with what they would have cost."""
    from scaler.simulate.tune import propose  # noqa: PLC0415
    from scaler.simulate.world import WorldSettings  # noqa: PLC0415

    with _refusals():
        source = _Source(trace, generate, prometheus, since, queue, rate, hours, mean, seed)
        _check_bounds(minimum, maximum)
        propose(
            _trace(source),
            wish,
            WorldSettings(startup),
            bounds=(minimum, maximum),
            seed=seed,
            as_json=as_json,
            folder=plot,
        )


def register(app: typer.Typer) -> None:
    """Add both commands to the program's."""
    app.command()(simulate)
    app.command()(tune)


@contextmanager
def _refusals() -> Iterator[None]:
    """One line on stderr and exit code 2 for what cannot be used, 1 for a silent Prometheus."""
    from scaler.prometheus.client import PrometheusError  # noqa: PLC0415

    try:
        yield
    except InvalidInputError as error:
        sys.stderr.write(f"invalid: {error}\n")
        raise typer.Exit(2) from None
    except PrometheusError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from None


def _check_bounds(minimum: int, maximum: int) -> None:
    if minimum > maximum:
        raise ConfigError("--max", maximum, f"at least --min, which is {minimum}")


def _view(tick: float, age: float, missing: float, outage: str | None) -> ViewSettings:
    from scaler.simulate.delayed_view import ViewSettings  # noqa: PLC0415

    if outage is None:
        return ViewSettings(tick, age, missing)
    begin, _, length = outage.partition(":")
    try:
        window = (float(begin), float(begin) + float(length))
    except ValueError:
        raise ConfigError("--outage", outage, "BEGIN:LENGTH in seconds") from None
    return ViewSettings(tick, age, missing, window)


def _trace(source: _Source) -> Trace:
    from scaler.simulate import trace as traces  # noqa: PLC0415

    if source.prometheus is not None:
        require("--prometheus", source.prometheus, SERVICE)
    prometheus = source.prometheus and without_credentials(source.prometheus)
    given = [source.trace, source.generate, prometheus]
    if sum(one is not None for one in given) != 1:
        said = ", ".join(str(one) for one in given if one is not None) or "nothing"
        raise ConfigError("trace", said, "one of --trace, --generate and --prometheus")
    if source.trace is not None:
        return traces.read_csv(source.trace)
    if source.generate is not None:
        make = traces.GENERATORS[source.generate]
        return make(traces.Load(source.rate / 60, source.hours, source.mean, source.seed))
    return _past(source)


def _past(source: _Source) -> Trace:
    from common.outgoing import ClientPolicy  # noqa: PLC0415
    from scaler.prometheus.client import Prometheus  # noqa: PLC0415
    from scaler.simulate.past import trace_from  # noqa: PLC0415

    prometheus = Prometheus(
        source.prometheus or "", timeout_s=60.0, policy=ClientPolicy("PROMETHEUS")
    )
    try:
        length = seconds(source.since, "since")
        return trace_from(prometheus, source.queue, length, time.time(), seed=source.seed)
    finally:
        prometheus.close()
