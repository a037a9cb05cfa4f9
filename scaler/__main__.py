"""`python -m scaler`: the programs of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scaler.simulate.cli import register

app = typer.Typer(no_args_is_help=True, add_completion=False)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="scaling-config.yml; default $SCALING_CONFIG."),
]


@app.callback()
def main() -> None:
    """Decides how many queue workers there should be, and why."""


@app.command()
def run(config: ConfigOption = None) -> None:
    """Observe, decide, apply, record, until SIGTERM. Settings: docs/configuration.md."""
    from scaler.run import run as run_scaler  # noqa: PLC0415 - other commands need none of it

    raise typer.Exit(run_scaler(config))


register(app)

if __name__ == "__main__":
    app()
