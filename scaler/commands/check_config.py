"""check-config and config-schema: the configuration, looked at without running."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scaler.commands.output import JsonOption, print_json, print_table

if TYPE_CHECKING:
    from common.errors import ConfigError
    from scaler.config.origin import InForce
    from scaler.run import RunSettings

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="scaling-config.yml; default $SCALING_CONFIG."),
]


def check_config(
    config: ConfigOption = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not a default.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the configuration; show what is in force and where each value came from.

    Exits with 2, and a line naming field, value and what is allowed for each part that is refused.
    Whatever `run` reads is read; what has to be given and is not is shown as missing.
    """
    from common.errors import ConfigError  # noqa: PLC0415 - only this command needs them
    from common.settings import or_exit  # noqa: PLC0415
    from scaler.config.load import CONFIG_VARIABLE  # noqa: PLC0415
    from scaler.config.origin import DEFAULT  # noqa: PLC0415

    given = os.environ.get(CONFIG_VARIABLE)
    path = config or (Path(given) if given else None)
    found = or_exit(lambda: list(_looked_at(path)))
    problems = [each for each in found if isinstance(each, ConfigError)]
    for problem in problems:
        sys.stderr.write(f"invalid configuration: {problem}\n")
    if problems:
        raise typer.Exit(2)
    settings = [each for each in found if not isinstance(each, ConfigError)]
    if changed:
        settings = [each for each in settings if each.origin != DEFAULT]
    if as_json:
        print_json([each._asdict() for each in settings])
    else:
        print_table(("setting", "value", "from"), settings)


def _looked_at(path: Path | None) -> Iterator[InForce | ConfigError]:
    from common.errors import ConfigError  # noqa: PLC0415 - as above
    from scaler.config.load import load_config  # noqa: PLC0415
    from scaler.config.origin import in_force, of_environment, of_required  # noqa: PLC0415
    from scaler.run import RunSettings  # noqa: PLC0415

    try:
        loaded = load_config(path)
    except ConfigError as error:
        yield error
        yield from of_environment(None, os.environ)
    else:
        yield from in_force(loaded, path, os.environ)
    yield from of_required(RunSettings, _connectable, os.environ, {"REDIS_URL": "redis://missing"})


def _connectable(environ: Mapping[str, str]) -> RunSettings:
    from common.ledger import Ledger  # noqa: PLC0415 - as above
    from common.settings import load  # noqa: PLC0415
    from scaler.run import RunSettings  # noqa: PLC0415

    settings = load(RunSettings, environ=environ)
    # Connects at its first use only, but looks at all that the URL says.
    Ledger.of(settings).close()
    return settings


def config_schema() -> None:
    """The JSON schema of scaling-config.yml, for editors."""
    from scaler.config.schema import schema  # noqa: PLC0415 - only this command needs it

    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")


def register(app: typer.Typer) -> None:
    """Add the commands to the program's."""
    app.command("check-config")(check_config)
    app.command("config-schema")(config_schema)
