"""`python -m worker …`: run, submit, render, dead."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. `run` goes its own way, since it must not load what it never uses."""
    if sys.argv[1:] == ["run"]:
        from common.errors import ConfigError
        from common.logs import configure
        from common.settings import or_exit
        from worker.settings import load_settings

        settings = or_exit(load_settings)
        configure("worker", settings.log_level)
        from worker.run import Worker

        try:
            worker = Worker(settings)
        except ConfigError as error:
            sys.stderr.write(f"invalid configuration: {error}\n")
            raise SystemExit(2) from None
        raise SystemExit(worker.run())
    from worker.cli import app

    app()


if __name__ == "__main__":
    main()
