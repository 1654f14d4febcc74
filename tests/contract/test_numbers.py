"""The lists of what has to hold are complete: each of their items has a test that says so."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
ITEMS = range(1, 35)
"""The last is what our own SDK has to do; the two before are what clients find that others wrote."""
FAULTS = range(1, 31)


def docstrings() -> list[str]:
    """What tests say that they show."""
    return [
        ast.get_docstring(node) or ""
        for file in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def test_every_item_of_the_list_has_a_test() -> None:
    """No number of the list (5a) is without a test that names it, and none is named that is not there."""
    named = {int(number) for text in docstrings() for number in re.findall(r"\b5a-(\d+)\b", text)}
    assert named == set(ITEMS)


def test_every_fault_is_staged() -> None:
    """No row of the table of faults (5b) is without a test that names it, and none is named beside it."""
    told = [
        match for text in docstrings() for match in re.findall(r"\bFaults? (\d+(?:(?:, | and )\d+)*)", text)
    ]
    named = {int(number) for each in told for number in re.findall(r"\d+", each)}
    assert named == set(FAULTS)
