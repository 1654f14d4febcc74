"""What tests say of themselves, read from their files."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from helpers.contract_docs import ROOT


@dataclass(frozen=True)
class Said:
    """A test.

    Attributes:
        place: Its file from the root, line and name.
        text: Its docstring, empty if it has none.
    """

    place: str
    text: str


@cache
def all_said() -> Sequence[Said]:
    """What each says: functions of a file, or of a class in it. Nothing else of the files is kept."""
    return [
        Said(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", ast.get_docstring(node) or "")
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for outer in ast.parse(path.read_bytes()).body
        for node in (outer.body if isinstance(outer, ast.ClassDef) else [outer])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
