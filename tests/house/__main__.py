"""`python -m tests.house`: rooms, names and prose of the first-party code. Part of `make lint`."""

from __future__ import annotations

import sys

from tests.house import layout, names, prose
from tests.house.source import everything, first_party


def main() -> int:
    """Print every finding; exits with 1 where there is one."""
    sources = first_party()
    found = [
        *sorted(names.check(sources)),
        *sorted(names.too_long(everything())),
        *sorted(prose.check(sources)),
        *layout.problems(layout.read(), layout.declared()),
    ]
    sys.stderr.writelines(f"{each}\n" for each in found)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
