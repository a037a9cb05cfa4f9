"""Changes to a module's text that take one thing out of it, by its syntax tree."""

from __future__ import annotations

import ast
import re

Node = ast.stmt | ast.expr | ast.keyword


def replaced(text: str, node: Node, new: str) -> str:
    """`text` with the node's own replaced."""
    start, end = _span(text, node)
    return (text.encode()[:start] + new.encode() + text.encode()[end:]).decode()


def without_statement(text: str, node: ast.stmt) -> str:
    """`text` with nothing done where the statement was."""
    return replaced(text, node, "pass")


def without_item(text: str, node: ast.expr | ast.keyword) -> str:
    """`text` without an item of a tuple, a list or a call's arguments."""
    start, end = _span(text, node)
    after = re.sub(r"\A\s*,", "", text.encode()[end:].decode())
    return text.encode()[:start].decode() + after


def _span(text: str, node: Node) -> tuple[int, int]:
    """Where the node begins and ends, in bytes."""
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    lines = text.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    return (
        starts[node.lineno - 1] + node.col_offset,
        starts[node.end_lineno - 1] + node.end_col_offset,
    )
