"""Names that stand for two things are found, and those that may are not."""

from __future__ import annotations

from itertools import count

import pytest

from tests.house import names
from tests.house.source import Finding, Source

PROTOCOL = "class Order(Protocol):\n    limit: int\n    def give(self): ...\n"


def found(*texts: str, stem: str = "") -> list[Finding]:
    numbers = count()
    return list(
        names.check([Source(f"room{next(numbers)}/{stem or next(numbers)}.py", t) for t in texts])
    )


def test_a_class_name_stands_for_one_class() -> None:
    (finding,) = found("class Order: ...\n", "\n\nclass Order: ...\n")
    assert str(finding).startswith("room2/3.py:3: class Order is also at room0/1.py:1: rename")


@pytest.mark.parametrize(
    "implementation",
    [
        "class Order(base.Order): ...\n",
        "class Order:\n    limit: int = 3\n    def give(self): ...\n    def more(self): ...\n",
        "class Order:\n"
        "    def __init__(self):\n        self.limit = 1\n"
        "    async def give(self): ...\n",
    ],
    ids=["derived", "structural", "set in init"],
)
def test_a_protocol_and_what_implements_it_may_share_a_name(implementation: str) -> None:
    assert found(PROTOCOL, implementation) == []
    assert len(found(PROTOCOL, implementation, implementation)) == 1


def test_a_protocol_that_is_not_implemented_is_another_thing() -> None:
    assert len(found(PROTOCOL, "class Order:\n    limit: int\n")) == 1
    assert len(found(PROTOCOL, PROTOCOL)) == 1


def test_a_base_name_stands_for_one_module() -> None:
    (finding,) = found("", "", stem="policy")
    assert str(finding).startswith("room1/policy.py:1: room0/policy.py has the same base name")
    assert found("", "", stem="errors") == []


def test_exceptions_hold_and_are_not_kept_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "SAME_CLASS", {"Order": "because"})
    assert found("class Order: ...\n", "class Order: ...\n") == []
    (stale,) = found("class Order: ...\n")
    assert "SAME_CLASS need not name Order" in stale.message
    monkeypatch.setattr(names, "SAME_CLASS", {})
    monkeypatch.setattr(names, "SAME_MODULE", {"policy": "because"})
    assert found("", "", stem="policy") == []
    assert len(found("", stem="policy")) == 1


def test_a_module_is_read_in_one_go() -> None:
    at_most = "pass\n" * names.MOST_LINES
    assert list(names.too_long([Source("a.py", at_most)])) == []
    (finding,) = names.too_long([Source("a.py", at_most + "pass\n")])
    assert str(finding).startswith("a.py:451: 451 lines, 450 at most")
