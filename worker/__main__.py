"""`python -m worker …`: run, submit, render, dead."""

from __future__ import annotations

import sys


def main() -> None:
    """Do what the command line says. `run` must not load what it never uses, so it goes first."""
    if sys.argv[1:] == ["run"]:
        from worker.program import main as run

        run()
        return
    from worker.cli import app

    app()


if __name__ == "__main__":
    main()
