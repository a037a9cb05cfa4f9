"""check-config and config-schema: the configuration, looked at without running."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from scaler.commands.output import JsonOption, print_json, print_table

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

    Exits with 2, and one line naming field, value and what is allowed, when it is refused.
    """
    from common.settings import or_exit  # noqa: PLC0415 - only this command needs them
    from scaler.config.load import CONFIG_VARIABLE, load_config  # noqa: PLC0415
    from scaler.config.origin import DEFAULT, in_force  # noqa: PLC0415

    given = os.environ.get(CONFIG_VARIABLE)
    path = config or (Path(given) if given else None)
    loaded = or_exit(lambda: load_config(path))
    settings = or_exit(lambda: list(in_force(loaded, path, os.environ)))
    if changed:
        settings = [each for each in settings if each.origin != DEFAULT]
    if as_json:
        print_json([each._asdict() for each in settings])
    else:
        print_table(("setting", "value", "from"), settings)


def config_schema() -> None:
    """The JSON schema of scaling-config.yml, for editors."""
    from scaler.config.schema import schema  # noqa: PLC0415 - only this command needs it

    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")


def register(app: typer.Typer) -> None:
    """Add the commands to the program's."""
    app.command("check-config")(check_config)
    app.command("config-schema")(config_schema)
