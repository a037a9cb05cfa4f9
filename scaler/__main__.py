"""`python -m scaler`: the programs of this room."""

from __future__ import annotations

import typer

from scaler.commands import check_config, live, replay
from scaler.commands.check_config import ConfigOption

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    # Among them are settings, and so secrets.
    pretty_exceptions_show_locals=False,
)


@app.callback()
def main() -> None:
    """Decides how many queue workers there should be, and why.

    Exit codes: 0 done; 1 the scaler or Prometheus did not answer, or refused; 2 invalid
    configuration or usage.
    """


@app.command()
def run(config: ConfigOption = None) -> None:
    """Observe, decide, apply, record, until SIGTERM. Settings: docs/configuration.md."""
    from scaler.run import run as run_scaler  # noqa: PLC0415 - other commands need none of it

    raise typer.Exit(run_scaler(config))


for commands in (live, check_config, replay):
    commands.register(app)

if __name__ == "__main__":
    app()
