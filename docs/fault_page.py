"""The table of faults in docs/operating.md, from the cells of tests/support/matrix.py.

`make generate` writes it.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.matrix import cells, table

_PAGE = Path(__file__).resolve().parent / "operating.md"
_PLACE = re.compile(r"(?<=<!-- made by `make generate` -->\n).*?(?=<!-- end -->)", re.DOTALL)


def files() -> dict[Path, str]:
    """The page with the table as it is to be."""
    made = table({cell: cell.outcome for cell in cells()})
    return {_PAGE: _PLACE.sub(lambda _: made, _PAGE.read_text())}
